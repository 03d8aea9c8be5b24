//! The accounts that own everything at genesis. **Their keys are public**: the whole field derives them from
//! the mnemonic `test test test test test test test test test test test junk`, and what is sent to them on a
//! real network is taken within seconds.

use alloy_consensus::crypto::secp256k1;
use alloy_consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, B256, TxKind, U256, address, b256, hex};

use super::CHAIN_ID;
use super::fees::SUGGESTED_TIP;

/// An account whose key everybody has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DevAccount {
    /// Who.
    pub address: Address,
    /// Its private key, known to the whole world.
    pub key: B256,
}

impl DevAccount {
    /// A signed transfer of so many wei on the simulated chain, as hex, and its hash.
    pub fn transfer(&self, nonce: u64, to: Address, wei: u64) -> Option<(String, B256)> {
        /// What a transfer without calldata takes.
        const GAS: u64 = 21_000;
        /// Above any base fee that the simulation reaches by itself: its blocks are far from full.
        const FEE_CAP: u128 = 100_000_000_000;
        let transaction = TxEip1559 {
            chain_id: CHAIN_ID,
            nonce,
            gas_limit: GAS,
            max_fee_per_gas: FEE_CAP,
            max_priority_fee_per_gas: SUGGESTED_TIP,
            to: TxKind::Call(to),
            value: U256::from(wei),
            ..TxEip1559::default()
        };
        let signature = secp256k1::sign_message(self.key, transaction.signature_hash()).ok()?;
        let signed = TxEnvelope::from(transaction.into_signed(signature));
        Some((hex::encode_prefixed(signed.encoded_2718()), *signed.tx_hash()))
    }
}

/// In the order of derivation, m/44'/60'/0'/0/i.
#[rustfmt::skip]
pub const DEV_ACCOUNTS: [DevAccount; 10] = [
    DevAccount { address: address!("f39Fd6e51aad88F6F4ce6aB8827279cffFb92266"), key: b256!("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80") },
    DevAccount { address: address!("70997970C51812dc3A010C7d01b50e0d17dc79C8"), key: b256!("59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d") },
    DevAccount { address: address!("3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"), key: b256!("5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a") },
    DevAccount { address: address!("90F79bf6EB2c4f870365E785982E1f101E93b906"), key: b256!("7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6") },
    DevAccount { address: address!("15d34AAf54267DB7D7c367839AAf71A00a2C6A65"), key: b256!("47e179ec197488593b187f80a00eb0da91f1b9d0b13f8733639f19c30a34926a") },
    DevAccount { address: address!("9965507D1a55bcC2695C58ba16FB37d819B0A4dc"), key: b256!("8b3a350cf5c34c9194ca85829a2df0ec3153be0318b5e2d3348e872092edffba") },
    DevAccount { address: address!("976EA74026E726554dB657fA54763abd0C3a0aa9"), key: b256!("92db14e403b83dfe3df233f83dfa3a0d7096f21ca9b0d6d6b8d88b2b4ec1564e") },
    DevAccount { address: address!("14dC79964da2C08b23698B3D3cc7Ca32193d9955"), key: b256!("4bbbf85ce3377467afe5d46f804f221813b2bb87f24d81f60f1fcdbf7cbf4356") },
    DevAccount { address: address!("23618e81E3f5cdF7f54C3d65f7FBc0aBf5B21E8f"), key: b256!("dbda1821b80551c9d65939329250298aa3472ba22feea921c0cf5d620ea67b97") },
    DevAccount { address: address!("a0Ee7A142d267C1f36714E4a8F75612F20a79720"), key: b256!("2a871d0798f97d79848a013d4936a73bf4cc922c825d33c1cf7073dff6d409c6") },
];

/// What each of them owns at genesis, in wei: ten thousand ether.
pub const GENESIS_BALANCE: U256 = U256::from_limbs([0x19e0_c9ba_b240_0000, 0x21e, 0, 0]);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_belongs_to_its_address() {
        for account in DEV_ACCOUNTS {
            let message = B256::repeat_byte(7);
            let signature = secp256k1::sign_message(account.key, message).unwrap();
            assert_eq!(signature.recover_address_from_prehash(&message).unwrap(), account.address);
        }
    }

    #[test]
    fn a_transfer_is_what_the_simulation_takes_from_its_sender() {
        let [from, to, ..] = DEV_ACCOUNTS;
        let (raw, hash) = from.transfer(3, to.address, 7).unwrap();
        let read = super::super::transaction::Transaction::check(&raw).unwrap();
        assert_eq!((read.hash, read.sender, read.to, read.nonce()), (hash, from.address, to.address, 3));
    }

    #[test]
    fn ten_thousand_ether_are_ten_thousand_ether() {
        assert_eq!(GENESIS_BALANCE, U256::from(10_000) * U256::from(10).pow(U256::from(18)));
    }
}
