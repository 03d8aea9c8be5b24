//! Signed transactions as wallets send them: hash, sender, nonce and chain, computed here from the
//! bytes and never believed from a backend.

use std::sync::OnceLock;

use alloy_consensus::transaction::SignerRecoverable;
use alloy_consensus::{Signed, Transaction, TxEip4844Variant, TxEnvelope};
use alloy_eips::eip2718::Decodable2718;
use alloy_primitives::{Address, B256, keccak256};

/// The largest transaction that is taken, in bytes. Six blobs with their sidecar are 0.8 MB and
/// pools allow more with EIP-7594 proofs; 2 MiB (4 MiB as hex) leaves room for twice that.
pub const MAX_RAW_TRANSACTION_BYTES: usize = 2 * 1024 * 1024;

/// An unknown type must at least hold its type byte and a signature's r and s: whatever is shorter
/// nobody can have authorised.
const OPAQUE_BYTES_MIN: usize = 1 + 64;

/// Why a parameter is no raw transaction. The texts go to the caller and hold none of the bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RawTransactionError {
    /// Not prefixed.
    #[error("the raw transaction must be a hex string that starts with 0x")]
    NoPrefix,
    /// `0x` alone, or nothing.
    #[error("the raw transaction is empty: send the signed bytes as 0x-prefixed hex")]
    Empty,
    /// Half a byte.
    #[error("the raw transaction has an odd number of hex digits ({digits}): a digit was lost")]
    OddLength {
        /// Digits after `0x`.
        digits: usize,
    },
    /// Something that is no hex digit.
    #[error("the raw transaction has a character that is no hex digit at position {position}")]
    NotHex {
        /// Position in the string, from 0, `0x` included.
        position: usize,
    },
    /// Too long.
    #[error("the raw transaction has {bytes} bytes, and at most {max} are taken", max = MAX_RAW_TRANSACTION_BYTES)]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// A known type, or no type at all, and not well formed.
    #[error("the raw transaction cannot be decoded ({kind}): send the signed, RLP-encoded bytes")]
    Malformed {
        /// What it starts as.
        kind: &'static str,
    },
}

/// A signed transaction.
///
/// Types that are not known here (deposits of L2s, future EIPs) cannot be verified, which does not
/// make them invalid: they have a hash, and no sender, nonce or chain.
#[derive(Debug)]
pub struct RawTransaction {
    hash: B256,
    bytes: usize,
    kind: u8,
    envelope: Option<Box<TxEnvelope>>,
    sender: OnceLock<Option<Address>>,
}

impl RawTransaction {
    /// Decodes the parameter of `eth_sendRawTransaction`.
    pub fn decode(hex: &str) -> Result<Self, RawTransactionError> {
        let digits =
            hex.strip_prefix("0x").or_else(|| hex.strip_prefix("0X")).ok_or(match hex.is_empty() {
                true => RawTransactionError::Empty,
                false => RawTransactionError::NoPrefix,
            })?;
        if digits.is_empty() {
            return Err(RawTransactionError::Empty);
        }
        if digits.len() / 2 > MAX_RAW_TRANSACTION_BYTES {
            return Err(RawTransactionError::TooLarge { bytes: digits.len() / 2 });
        }
        if let Some(position) = digits.bytes().position(|b| !b.is_ascii_hexdigit()) {
            return Err(RawTransactionError::NotHex { position: position + 2 });
        }
        if digits.len() % 2 != 0 {
            return Err(RawTransactionError::OddLength { digits: digits.len() });
        }
        let bytes =
            alloy_primitives::hex::decode(digits).map_err(|_| RawTransactionError::NotHex { position: 2 })?;
        Self::from_bytes(&bytes)
    }

    /// The same from the bytes themselves.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, RawTransactionError> {
        let Some(&first) = bytes.first() else { return Err(RawTransactionError::Empty) };
        if bytes.len() > MAX_RAW_TRANSACTION_BYTES {
            return Err(RawTransactionError::TooLarge { bytes: bytes.len() });
        }
        // EIP-2718: below 0x80 the first byte is a type; a legacy transaction is an RLP list, from 0xc0.
        let kind = match first {
            0x01..=0x04 => "a typed transaction",
            0xc0..=0xff => "a legacy transaction",
            0x00 | 0x80..=0xbf => return Err(RawTransactionError::Malformed { kind: "no transaction type" }),
            0x05..=0x7f if bytes.len() < OPAQUE_BYTES_MIN => {
                return Err(RawTransactionError::Malformed {
                    kind: "an unknown type, and too short to be signed",
                });
            }
            0x05..=0x7f => {
                let sender = OnceLock::from(None);
                return Ok(Self {
                    hash: keccak256(bytes),
                    bytes: bytes.len(),
                    kind: first,
                    envelope: None,
                    sender,
                });
            }
        };
        let envelope =
            TxEnvelope::decode_2718_exact(bytes).map_err(|_| RawTransactionError::Malformed { kind })?;
        // Not the hash of these bytes: a blob transaction's leaves its sidecar out.
        let hash = *envelope.tx_hash();
        let kind = if first >= 0xc0 { 0 } else { first };
        Ok(Self {
            hash,
            bytes: bytes.len(),
            kind,
            envelope: Some(Box::new(envelope)),
            sender: OnceLock::new(),
        })
    }

    /// The transaction's hash.
    pub fn hash(&self) -> B256 {
        self.hash
    }

    /// Size in bytes, a sidecar included.
    pub fn size(&self) -> usize {
        self.bytes
    }

    /// EIP-2718 type; 0 for legacy.
    pub fn tx_type(&self) -> u8 {
        self.kind
    }

    /// Whether the fields could be read; else only the hash is known.
    pub fn is_decoded(&self) -> bool {
        self.envelope.is_some()
    }

    /// The sender's nonce.
    pub fn nonce(&self) -> Option<u64> {
        self.envelope.as_deref().map(Transaction::nonce)
    }

    /// The chain it was signed for; `None` before EIP-155 (valid on any chain) or where not decoded.
    pub fn chain_id(&self) -> Option<u64> {
        self.envelope.as_deref().and_then(Transaction::chain_id)
    }

    /// Who signed it, recovered on the first call (about 0.3 ms) and remembered. `None` where not
    /// decoded, or where the signature is not valid (EIP-2 included).
    pub fn sender(&self) -> Option<Address> {
        *self.sender.get_or_init(|| self.envelope.as_deref().and_then(|tx| tx.recover_signer().ok()))
    }

    /// The transaction as nodes show it, in the block with this number and hash and at this place there, or pending.
    /// `None` where it is not decoded.
    pub fn to_json(&self, place: Option<(u64, B256, u64)>) -> Option<String> {
        let sender = self.sender()?;
        let envelope = self.envelope.as_deref()?;
        // Nodes do not show sidecars.
        let shown = match envelope {
            TxEnvelope::Eip4844(signed) => {
                let tx = signed.tx().tx().clone();
                let bare =
                    Signed::new_unchecked(TxEip4844Variant::TxEip4844(tx), *signed.signature(), self.hash);
                serde_json::to_value(TxEnvelope::Eip4844(bare))
            }
            other => serde_json::to_value(other),
        };
        let serde_json::Value::Object(mut object) = shown.ok()? else { return None };
        let mut put = |name: &str, value: serde_json::Value| drop(object.insert(name.to_owned(), value));
        put("from", format!("{sender:#x}").into());
        put("hash", format!("{:#x}", self.hash).into());
        let quantity = |number: u64| serde_json::Value::from(format!("{number:#x}"));
        put("blockNumber", place.map_or(serde_json::Value::Null, |(number, ..)| quantity(number)));
        put("blockHash", place.map_or(serde_json::Value::Null, |(_, hash, _)| format!("{hash:#x}").into()));
        put("transactionIndex", place.map_or(serde_json::Value::Null, |(.., index)| quantity(index)));
        // What it pays is known when it is mined; until then nodes show what it pays at most.
        let price = envelope.gas_price().unwrap_or_else(|| envelope.max_fee_per_gas());
        put("gasPrice", format!("{price:#x}").into());
        serde_json::to_string(&object).ok()
    }

    /// The decoded transaction.
    pub fn envelope(&self) -> Option<&TxEnvelope> {
        self.envelope.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_consensus::{
        SignableTransaction, TxEip1559, TxEip2930, TxEip4844, TxEip4844Variant, TxEip4844WithSidecar,
        TxEip7702, TxLegacy,
    };
    use alloy_eips::eip2718::Encodable2718;
    use alloy_eips::eip4844::BlobTransactionSidecar;
    use alloy_eips::eip7594::{BlobTransactionSidecarEip7594, BlobTransactionSidecarVariant};
    use alloy_primitives::{Signature, TxKind, U256, hex};
    use proptest::prelude::*;

    /// The example of EIP-155.
    const EIP155: &str = "0xf86c098504a817c800825208943535353535353535353535353535353535353535880de0b6b3a76400008025a028ef61340bd939bc2195fe537567866003e1a15d3c71ff63e1590620aa636276a067cbe9d8997f761aecb703304b3800ccf555c9f3dc64214b297fb1966a3b6d83";

    #[test]
    fn the_example_of_eip_155_has_the_sender_it_names() {
        let tx = RawTransaction::decode(EIP155).unwrap();
        assert_eq!(
            tx.sender(),
            Some("0x9d8a62f656a8d1615c1294fd71e9cfb3e4855a4f".parse().unwrap()),
            "sender"
        );
        assert_eq!((tx.tx_type(), tx.nonce(), tx.chain_id()), (0, Some(9), Some(1)));
        assert_eq!(tx.hash(), keccak256(hex::decode(EIP155).unwrap()));
        let shouted = format!("0X{}", EIP155[2..].to_uppercase());
        assert_eq!(RawTransaction::decode(&shouted).unwrap().hash(), tx.hash());
    }

    /// Any signature recovers to somebody; who it is, is compared with the transaction before encoding.
    fn signed<T: SignableTransaction<Signature>>(tx: T) -> TxEnvelope
    where
        TxEnvelope: From<alloy_consensus::Signed<T>>,
    {
        TxEnvelope::from(tx.into_signed(Signature::test_signature()))
    }

    fn blob_tx() -> TxEip4844 {
        TxEip4844 {
            chain_id: 1,
            nonce: 7,
            gas_limit: 21_000,
            blob_versioned_hashes: vec![B256::ZERO],
            ..Default::default()
        }
    }

    fn with_sidecar(sidecar: BlobTransactionSidecarVariant) -> TxEnvelope {
        signed(TxEip4844Variant::TxEip4844WithSidecar(TxEip4844WithSidecar { tx: blob_tx(), sidecar }))
    }

    fn blobs(count: usize) -> BlobTransactionSidecar {
        BlobTransactionSidecar {
            blobs: vec![Default::default(); count],
            commitments: vec![Default::default(); count],
            proofs: vec![Default::default(); count],
        }
    }

    #[test]
    fn t6_every_type_has_the_hash_sender_nonce_and_chain_it_was_signed_with() {
        let to = TxKind::Call(Address::repeat_byte(0x35));
        let cells = BlobTransactionSidecarEip7594 {
            blobs: vec![Default::default()],
            commitments: vec![Default::default()],
            cell_proofs: vec![Default::default(); 128],
        };
        let table: [(TxEnvelope, u8, Option<u64>); 9] = [
            (signed(TxLegacy { nonce: 7, to, value: U256::from(1), ..Default::default() }), 0, None),
            (signed(TxLegacy { chain_id: Some(137), nonce: 7, to, ..Default::default() }), 0, Some(137)),
            (signed(TxEip2930 { chain_id: 1, nonce: 7, to, ..Default::default() }), 1, Some(1)),
            (
                signed(TxEip1559 { chain_id: 10, nonce: 7, to: TxKind::Create, ..Default::default() }),
                2,
                Some(10),
            ),
            (signed(TxEip4844Variant::<BlobTransactionSidecarVariant>::TxEip4844(blob_tx())), 3, Some(1)),
            (with_sidecar(BlobTransactionSidecarVariant::Eip4844(blobs(1))), 3, Some(1)),
            (with_sidecar(BlobTransactionSidecarVariant::Eip4844(blobs(6))), 3, Some(1)),
            (with_sidecar(BlobTransactionSidecarVariant::Eip7594(cells)), 3, Some(1)),
            (signed(TxEip7702 { chain_id: 1, nonce: 7, ..Default::default() }), 4, Some(1)),
        ];
        let mut blob_hashes = Vec::new();
        for (envelope, kind, chain_id) in table {
            let tx = RawTransaction::decode(&hex::encode_prefixed(envelope.encoded_2718())).unwrap();
            assert_eq!(tx.hash(), *envelope.tx_hash(), "type {kind}");
            assert_eq!(tx.sender(), Some(envelope.recover_signer().unwrap()), "type {kind}");
            assert_eq!((tx.tx_type(), tx.nonce(), tx.chain_id()), (kind, Some(7), chain_id));
            assert!(tx.is_decoded());
            if kind == 3 {
                blob_hashes.push(tx.hash());
            }
        }
        blob_hashes.dedup();
        assert_eq!(blob_hashes.len(), 1, "a sidecar does not change the hash");
    }

    #[test]
    fn a_type_that_is_not_known_is_not_verified_and_not_refused() {
        let mut deposit = vec![0x7e];
        deposit.extend([0x55; 120]);
        let tx = RawTransaction::from_bytes(&deposit).unwrap();
        assert_eq!(tx.hash(), keccak256(&deposit));
        assert_eq!((tx.tx_type(), tx.sender(), tx.nonce(), tx.chain_id()), (0x7e, None, None, None));
        assert!(!tx.is_decoded());
    }

    #[test]
    fn t7_what_is_no_transaction_is_told_so_and_why() {
        use RawTransactionError as E;
        let table = [
            ("".to_owned(), E::Empty),
            ("0x".to_owned(), E::Empty),
            (EIP155[2..].to_owned(), E::NoPrefix),
            ("0xf86".to_owned(), E::OddLength { digits: 3 }),
            ("0xf86g".to_owned(), E::NotHex { position: 5 }),
            ("0xf8é0".to_owned(), E::NotHex { position: 4 }),
            ("0x00".to_owned(), E::Malformed { kind: "no transaction type" }),
            ("0x02".to_owned(), E::Malformed { kind: "a typed transaction" }),
            ("0xdeadbeef".to_owned(), E::Malformed { kind: "a legacy transaction" }),
            (format!("{EIP155}00"), E::Malformed { kind: "a legacy transaction" }),
            (EIP155[..EIP155.len() - 2].to_owned(), E::Malformed { kind: "a legacy transaction" }),
            ("0x7e01".to_owned(), E::Malformed { kind: "an unknown type, and too short to be signed" }),
            (
                format!("0x{}", "00".repeat(MAX_RAW_TRANSACTION_BYTES + 1)),
                E::TooLarge { bytes: MAX_RAW_TRANSACTION_BYTES + 1 },
            ),
        ];
        for (text, expected) in table {
            assert_eq!(
                RawTransaction::decode(&text).unwrap_err(),
                expected,
                "{}",
                &text[..text.len().min(40)]
            );
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..300), first in 0_u8..6, text in "\\PC{0,40}") {
            let _ = RawTransaction::from_bytes(&bytes).map(|tx| tx.sender());
            bytes.insert(0, first);
            let _ = RawTransaction::from_bytes(&bytes).map(|tx| tx.sender());
            let _ = RawTransaction::decode(&text);
            let mut flipped = hex::decode(EIP155).unwrap();
            let at = bytes.len() % flipped.len();
            flipped[at] ^= bytes.first().copied().unwrap_or(1);
            let _ = RawTransaction::from_bytes(&flipped).map(|tx| tx.sender());
        }
    }
}
