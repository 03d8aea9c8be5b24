// A day with viem: fetch, single requests and JSON-RPC batches. Retries are off, so that every failure shows.
import { createPublicClient, createWalletClient, defineChain, http } from 'viem';
import { mnemonicToAccount } from 'viem/accounts';
import { bell, CHAIN_ID, Day, MNEMONIC } from './day.mjs';

const day = new Day('viem');
const chain = defineChain({
  id: CHAIN_ID,
  name: 'lab',
  nativeCurrency: { name: 'Ether', symbol: 'ETH', decimals: 18 },
  rpcUrls: { default: { http: [day.url] } },
});

// viem's watchers swallow errors while they poll: what the wire says is judged here.
const watchedFetch = async (...request) => {
  try {
    const response = await fetch(...request);
    const text = await response.clone().text();
    if (response.status !== 200) day.error('wire', new Error(`HTTP ${response.status} ${text.slice(0, 200)}`));
    for (const answer of [JSON.parse(text)].flat()) {
      // code 3 is a revert, which the contract is asked for
      if (answer.error && answer.error.code !== 3) day.error('wire', new Error(JSON.stringify(answer.error)));
    }
    return response;
  } catch (error) {
    day.error('wire', error);
    throw error;
  }
};
const transport = (batch) => http(day.url, { batch, retryCount: 0, timeout: 20_000, fetchFn: watchedFetch });
const settings = { chain, pollingInterval: 100, cacheTime: 0 };
const account = mnemonicToAccount(MNEMONIC, { addressIndex: day.account });
const reader = createPublicClient({ ...settings, transport: transport(false) });
const batcher = createPublicClient({ ...settings, transport: transport(true) });
const wallet = createWalletClient({ ...settings, transport: transport(false), account });

let contract;
let rings = 0n;
let deployedAt;

async function reads() {
  await day.step('chain id', async () => day.expect((await reader.getChainId()) === CHAIN_ID, 'wrong chain id'));
  await day.step('net version', async () =>
    day.expect((await reader.request({ method: 'net_version' })) === String(CHAIN_ID), 'wrong net version'));
  await day.step('block number', () => reader.getBlockNumber());
  await day.step('balance', async () => day.expect((await reader.getBalance({ address: account.address })) > 0n, 'no balance'));
  await day.step('gas price', () => reader.getGasPrice());
  await day.step('priority fee', () => reader.estimateMaxPriorityFeePerGas());
  await day.step('fee history', async () => {
    const history = await reader.getFeeHistory({ blockCount: 4, rewardPercentiles: [25, 75] });
    day.expect(history.baseFeePerGas.length > 0, 'an empty fee history');
  });
  await day.step('nonces', async () => {
    const latest = await reader.getTransactionCount({ address: account.address, blockTag: 'latest' });
    const pending = await reader.getTransactionCount({ address: account.address, blockTag: 'pending' });
    day.expect(pending >= latest, `pending nonce ${pending} below latest ${latest}`);
  });
  await day.step('block', async () => {
    const block = await reader.getBlock({ blockTag: 'latest', includeTransactions: true });
    day.expect(block.hash, 'a block without hash');
  });
  await day.step('batch', async () => {
    const [id, number, balance, code] = await Promise.all([
      batcher.getChainId(),
      batcher.getBlockNumber(),
      batcher.getBalance({ address: account.address }),
      batcher.getCode({ address: contract ?? account.address }),
    ]);
    day.expect(id === CHAIN_ID && number >= 0n && balance > 0n, 'a batch with a wrong answer');
    day.expect(!contract || code?.length > 2, 'a batch without the code');
  });
  if (contract) await contractReads();
}

async function contractReads() {
  await day.step('code', async () => day.expect((await reader.getCode({ address: contract }))?.length > 2, 'no code'));
  await day.step('call', async () => {
    const rung = await reader.readContract({ address: contract, abi: bell.abi, functionName: 'rung' });
    day.expect(rung === rings, `rung ${rung} times, not ${rings}: an old state`);
  });
  await day.step('reverting call', async () => {
    const data = await reader
      .call({ to: contract, data: bell.selectors.refuse })
      .then(() => 'no revert', (error) => error.walk((cause) => cause.data)?.data);
    day.expect((data?.data ?? data) === bell.refusal, `revert data ${JSON.stringify(data)}`);
  });
  await day.step('estimate gas', () =>
    reader.estimateContractGas({ address: contract, abi: bell.abi, functionName: 'ring', account: account.address }));
  await day.step('logs', async () => {
    const logs = await reader.getContractEvents({ address: contract, abi: bell.abi, fromBlock: deployedAt, toBlock: 'latest' });
    day.expect(BigInt(logs.length) === rings, `${logs.length} logs, not ${rings}`);
  });
}

async function mined(hash) {
  day.sends += 1;
  const receipt = await day.step('wait for receipt', () => reader.waitForTransactionReceipt({ hash, timeout: 15_000 }));
  if (receipt) await day.step('status', async () => day.expect(receipt.status === 'success', 'the transaction failed'));
  return receipt;
}

async function ring() {
  const hash = await day.step('send', () => wallet.writeContract({ address: contract, abi: bell.abi, functionName: 'ring' }));
  if (!hash) return;
  await day.step('transaction by hash', async () => day.expect((await reader.getTransaction({ hash })).hash === hash, 'another one'));
  if (await mined(hash)) rings += 1n;
}

await day.live(
  async () => {
    await reads();
    const hash = await day.step('deploy', () => wallet.deployContract({ abi: bell.abi, bytecode: bell.bytecode }));
    const receipt = hash && (await mined(hash));
    [contract, deployedAt] = [receipt?.contractAddress, receipt?.blockNumber];
    if (contract) await contractReads();
    if (contract) await ring();
    if (contract) await contractReads();
  },
  async (n) => {
    await reads();
    if (contract && n % 10 === 9) await ring();
  },
);
