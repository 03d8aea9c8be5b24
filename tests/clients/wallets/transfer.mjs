// A day of plain transfers with viem, for chains without contracts. Retries are off, so that every failure shows.
//
//   node transfer.mjs URL [--account N] [--seconds N]
//
// Each round sends, waits for the receipt, and checks what everybody must agree on: balances, nonces, and the
// hash of the block's header, which is computed here from the fields that the answer shows.
import { createPublicClient, createWalletClient, defineChain, http, keccak256, toHex, toRlp } from 'viem';
import { mnemonicToAccount } from 'viem/accounts';
import { CHAIN_ID, Day, MNEMONIC } from './day.mjs';

const day = new Day('viem');
const chain = defineChain({
  id: CHAIN_ID,
  name: 'simulated',
  nativeCurrency: { name: 'Ether', symbol: 'ETH', decimals: 18 },
  rpcUrls: { default: { http: [day.url] } },
});
const settings = {
  chain,
  pollingInterval: 100,
  cacheTime: 0,
  transport: http(day.url, { retryCount: 0, timeout: 20_000 }),
};
const account = mnemonicToAccount(MNEMONIC, { addressIndex: day.account });
const reader = createPublicClient(settings);
const wallet = createWalletClient({ ...settings, account });

// a fresh one for each run: its balance is what this wallet sent
const receiver = mnemonicToAccount(MNEMONIC, { addressIndex: 1000 + day.account }).address;
let given = 0n;

// the header's fields in the order of its RLP, Prague's at the end
const quantity = (hex) => (BigInt(hex) === 0n ? '0x' : toHex(BigInt(hex)));
const headerHash = (b) =>
  keccak256(
    toRlp([
      b.parentHash, b.sha3Uncles, b.miner, b.stateRoot, b.transactionsRoot, b.receiptsRoot, b.logsBloom,
      quantity(b.difficulty), quantity(b.number), quantity(b.gasLimit), quantity(b.gasUsed), quantity(b.timestamp),
      b.extraData, b.mixHash, b.nonce, quantity(b.baseFeePerGas), b.withdrawalsRoot, quantity(b.blobGasUsed),
      quantity(b.excessBlobGas), b.parentBeaconBlockRoot, b.requestsHash,
    ]),
  );

async function round() {
  const value = 10n ** 15n;
  const hash = await day.step('send', () => wallet.sendTransaction({ to: receiver, value }));
  if (!hash) return;
  day.sends += 1;
  await day.step('pending nonce', async () => {
    const [latest, pending] = await Promise.all(
      ['latest', 'pending'].map((blockTag) => reader.getTransactionCount({ address: account.address, blockTag })),
    );
    day.expect(pending >= latest, `pending nonce ${pending} below latest ${latest}`);
  });
  const receipt = await day.step('wait for receipt', () => reader.waitForTransactionReceipt({ hash, timeout: 15_000 }));
  if (!receipt) return;
  given += value;
  await day.step('receipt', async () =>
    day.expect(receipt.status === 'success' && receipt.gasUsed === 21_000n, `a receipt with ${receipt.status} ${receipt.gasUsed}`));
  await day.step('balance', async () => {
    const balance = await reader.getBalance({ address: receiver, blockNumber: receipt.blockNumber });
    day.expect(balance === given, `${balance} arrived, not ${given}`);
  });
  await day.step('header', async () => {
    const block = await reader.request({ method: 'eth_getBlockByHash', params: [receipt.blockHash, false] });
    day.expect(block.hash === receipt.blockHash && headerHash(block) === block.hash, `block ${block.number} hashes to ${headerHash(block)}`);
    day.expect(block.transactions.includes(hash), 'a block without its transaction');
  });
  await day.step('fees', async () => {
    const fees = await reader.estimateFeesPerGas();
    day.expect(fees.maxFeePerGas > fees.maxPriorityFeePerGas, 'no fees');
  });
}

await day.live(async () => {
  await day.step('chain id', async () => day.expect((await reader.getChainId()) === CHAIN_ID, 'wrong chain id'));
  await round();
}, round);
