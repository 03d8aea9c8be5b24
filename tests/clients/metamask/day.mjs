// A day with MetaMask: its own NetworkController, block tracker, caches, retries and circuit breaker, in Node.
//
//   node day.mjs URL [--account N] [--seconds N]
//
// What a user of the extension does, in that order: types the URL into "add a custom network" (the form posts
// eth_chainId itself), adds it, switches to it (lookupNetwork), looks at balances while blocks come in, sends.
// MetaMask retries, degrades and breaks its circuit quietly, so those events count as errors here: a wallet
// that has to help itself four times was not served. Output and exit status are those of ../wallets/day.mjs.
import { HDNodeWallet, Transaction } from 'ethers';
import { bell, CHAIN_ID, Day, MNEMONIC } from '../wallets/day.mjs';
import { network } from './network.mjs';

const day = new Day('metamask');
const chainId = `0x${CHAIN_ID.toString(16)}`;
const wallet = HDNodeWallet.fromPhrase(MNEMONIC, undefined, `m/44'/60'/0'/0/${day.account}`);
const { controller, add: addNetwork } = network(day.url, chainId, (what, error) => day.error(what, error));

let provider;
let clientId;
let contract;
const heads = [];
const ask = (method, params) => provider.request({ method, params });

async function add() {
  await day.step('form', async () => {
    const body = JSON.stringify({ id: '1', jsonrpc: '2.0', method: 'eth_chainId', params: [] });
    const response = await fetch(day.url, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body });
    day.expect((await response.json()).result === chainId, 'the form would say: another chain id');
  });
  await day.step('add network', async () => {
    clientId = addNetwork();
  });
  await day.step('switch network', () => controller.setActiveNetwork(clientId));
  await day.step('look up', async () => {
    await controller.lookupNetwork(clientId);
    isAvailable();
    day.expect(controller.state.networksMetadata[clientId].EIPS['1559'] === true, 'EIP-1559 was not seen');
  });
  const proxies = controller.getProviderAndBlockTracker();
  provider = proxies.provider;
  proxies.blockTracker.on('latest', (number) => heads.push(parseInt(number, 16)));
  proxies.blockTracker.on('error', (error) => day.error('block tracker', error));
}

function isAvailable() {
  const { status } = controller.state.networksMetadata[clientId];
  day.expect(status === 'available', `the network is ${status}`);
}

async function reads() {
  await day.step('chain id', async () => day.expect((await ask('eth_chainId', [])) === chainId, 'another chain'));
  await day.step('net version', async () => day.expect((await ask('net_version', [])) === String(CHAIN_ID), 'another network'));
  // "latest" is rewritten to the number of the tracked block: whoever answers must have that block
  await day.step('balance', async () => day.expect(BigInt(await ask('eth_getBalance', [wallet.address, 'latest'])) > 0n, 'no balance'));
  await day.step('code', () => ask('eth_getCode', [wallet.address, 'latest']));
  await day.step('block', async () => day.expect((await ask('eth_getBlockByNumber', ['latest', false]))?.hash, 'no block'));
  await day.step('gas price', () => ask('eth_gasPrice', []));
  await day.step('call', () => ask('eth_call', [{ to: wallet.address, data: '0x' }, 'latest']));
  if (contract) {
    await day.step('contract', async () => {
      const rung = await ask('eth_call', [{ to: contract, data: bell.selectors.rung }, 'latest']);
      day.expect(BigInt(rung) === 0n, `nobody rang, yet it says ${rung}`);
    });
    // MetaMask wraps what the endpoint said: its error is -32603, the endpoint's error object its data
    await day.step('reverting call', async () => {
      const error = await ask('eth_call', [{ to: contract, data: bell.selectors.refuse }, 'latest']).then(() => undefined, (reason) => reason);
      day.expect(error?.data?.data === bell.refusal, `revert ${error?.message} ${JSON.stringify(error?.data)}`);
    });
  }
}

async function send(what) {
  const sent = await day.step('send', async () => {
    const gasLimit = await ask('eth_estimateGas', [{ from: wallet.address, ...what }]);
    const nonce = Number(await ask('eth_getTransactionCount', [wallet.address, 'latest']));
    const gasPrice = BigInt(await ask('eth_gasPrice', [])) * 2n;
    const unsigned = { type: 2, chainId: CHAIN_ID, ...what, nonce, gasLimit, maxFeePerGas: gasPrice, maxPriorityFeePerGas: 1n };
    const signed = await wallet.signTransaction(Transaction.from(unsigned));
    const hash = await ask('eth_sendRawTransaction', [signed]);
    day.expect(hash === Transaction.from(signed).hash, 'another hash');
    return { hash, nonce };
  });
  if (!sent) return undefined;
  day.sends += 1;
  const receipt = await day.step('wait for receipt', async () => {
    let receipt;
    while (!(receipt = await ask('eth_getTransactionReceipt', [sent.hash]))) {
      // MetaMask marks a transaction dropped when its nonce is used and there is no receipt
      await new Promise((resolve) => setTimeout(resolve, 300));
    }
    day.expect(receipt.status === '0x1', 'the transaction failed');
    return receipt;
  });
  // until the tracker has the block of the receipt, MetaMask would count its own transaction as pending
  await day.step('wait for nonce', async () => {
    while (Number(await ask('eth_getTransactionCount', [wallet.address, 'latest'])) <= sent.nonce) {
      await new Promise((resolve) => setTimeout(resolve, 300));
    }
  });
  return receipt;
}

await day.live(
  async () => {
    await add();
    await reads();
    contract = (await send({ data: bell.bytecode }))?.contractAddress;
    await reads();
    await day.step('wait for heads', async () => {
      while (heads.length < 3) await new Promise((resolve) => setTimeout(resolve, 100));
    });
  },
  async (n) => {
    await reads();
    if (n % 20 === 19) await send({ to: wallet.address, value: '0x1' });
    await day.step('status', async () => {
      await controller.lookupNetwork(clientId);
      isAvailable();
      day.expect(heads.every((head, i) => i === 0 || head > heads[i - 1]), `the heads went back: ${heads}`);
      day.extra = { heads: heads.length };
    });
  },
);
