// A day with ethers 6: Node's http client with kept-alive sockets; calls of the same moment travel as one batch.
import { Contract, ContractFactory, HDNodeWallet, JsonRpcProvider } from 'ethers';
import { bell, CHAIN_ID, Day, MNEMONIC } from './day.mjs';

const day = new Day('ethers');
const provider = new JsonRpcProvider(day.url, undefined, { pollingInterval: 100, cacheTimeout: -1 });
const wallet = HDNodeWallet.fromPhrase(MNEMONIC, undefined, `m/44'/60'/0'/0/${day.account}`).connect(provider);
// Pollers of ethers swallow errors: what the wire says is judged here. Code 3 is a revert, which we ask for.
provider.on('debug', ({ action, error, result }) => {
  if (action === 'receiveRpcError') day.error('wire', error);
  if (action !== 'receiveRpcResult') return;
  for (const answer of [result].flat()) {
    if (answer.error && answer.error.code !== 3) day.error('wire', new Error(JSON.stringify(answer.error)));
  }
});

let contract;
let rings = 0n;
let deployedAt;

async function reads() {
  await day.step('chain id', async () => day.expect(Number(await provider.send('eth_chainId', [])) === CHAIN_ID, 'wrong chain id'));
  await day.step('net version', async () => day.expect((await provider.send('net_version', [])) === String(CHAIN_ID), 'wrong net version'));
  await day.step('block number', () => provider.getBlockNumber());
  await day.step('fee data', () => provider.getFeeData());
  await day.step('fee history', () => provider.send('eth_feeHistory', ['0x4', 'latest', [50]]));
  await day.step('batch', async () => {
    const [balance, latest, pending, block] = await Promise.all([
      provider.getBalance(wallet.address),
      provider.getTransactionCount(wallet.address, 'latest'),
      provider.getTransactionCount(wallet.address, 'pending'),
      provider.getBlock('latest', true),
    ]);
    day.expect(balance > 0n, 'no balance');
    day.expect(pending >= latest, `pending nonce ${pending} below latest ${latest}`);
    day.expect(block?.hash, 'a block without hash');
  });
  if (contract) await contractReads();
}

async function contractReads() {
  const address = await contract.getAddress();
  await day.step('code', async () => day.expect((await provider.getCode(address)).length > 2, 'no code'));
  await day.step('call', async () => {
    const rung = await contract.rung();
    day.expect(rung === rings, `rung ${rung} times, not ${rings}: an old state`);
  });
  await day.step('reverting call', async () => {
    const error = await contract.refuse().then(() => undefined, (reason) => reason);
    day.expect(error?.data === bell.refusal && error.reason === 'the bell is cracked', `revert ${error?.message}`);
  });
  await day.step('estimate gas', () => contract.ring.estimateGas());
  await day.step('logs', async () => {
    const logs = await contract.queryFilter('Rang', deployedAt, 'latest');
    day.expect(BigInt(logs.length) === rings, `${logs.length} logs, not ${rings}`);
  });
}

async function mined(sent) {
  day.sends += 1;
  const receipt = await day.step('wait for receipt', () => sent.wait(1, 15_000));
  if (receipt) await day.step('status', async () => day.expect(receipt.status === 1, 'the transaction failed'));
  return receipt;
}

async function ring() {
  const sent = await day.step('send', () => contract.ring());
  if (!sent) return;
  await day.step('transaction by hash', async () => day.expect((await provider.getTransaction(sent.hash))?.hash === sent.hash, 'not found'));
  if (await mined(sent)) rings += 1n;
}

await day.live(
  async () => {
    await reads();
    const deployed = await day.step('deploy', () => new ContractFactory(bell.abi, bell.bytecode, wallet).deploy());
    const receipt = deployed && (await mined(deployed.deploymentTransaction()));
    if (receipt) {
      deployedAt = receipt.blockNumber;
      contract = new Contract(receipt.contractAddress, bell.abi, wallet);
      await contractReads();
      await ring();
      await contractReads();
    }
  },
  async (n) => {
    await reads();
    if (contract && n % 10 === 9) await ring();
  },
);
