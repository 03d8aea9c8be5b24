// MetaMask sends: its own TransactionController signs, publishes and follows, over its own NetworkController, in Node.
//
//   node send.mjs URL [--account N] [--count N]
//
// Sends `count` transfers, each once the one before is confirmed. One JSON line for each status that the controller
// gives a transaction, {"status":"submitted","hash":"0x..","warning":".."}, one {"trouble":".."} for what MetaMask
// would tell its user, and in the end {"client":"metamask","statuses":{"confirmed":N,..},"troubles":N}.
//
// Written for @metamask/transaction-controller 61.0.0. A `dropped` transaction is one without a receipt whose nonce is
// used, three looks in a row. The extension looks every two or three seconds; here four times a second, by its own
// feature flag, so that it looks often while a backend lags.
import { createRequire } from 'node:module';
import { HDNodeWallet } from 'ethers';
import { CHAIN_ID, MNEMONIC } from '../wallets/day.mjs';
import { network } from './network.mjs';

const require = createRequire(import.meta.url);
const { Messenger } = require('@metamask/messenger');
const { TransactionController } = require('@metamask/transaction-controller');

const args = process.argv.slice(2);
const option = (name, otherwise) => (args.includes(name) ? Number(args[args.indexOf(name) + 1]) : otherwise);
const url = args[0] ?? 'http://127.0.0.1:8545';
const count = option('--count', 1);
const wallet = HDNodeWallet.fromPhrase(MNEMONIC, undefined, `m/44'/60'/0'/0/${option('--account', 0)}`);
const from = wallet.address.toLowerCase();
const chainId = `0x${CHAIN_ID.toString(16)}`;
// no status that ends a transaction within this is an end of the test
const PATIENCE_MS = 30_000;
const ENDS = ['confirmed', 'dropped', 'failed', 'rejected', 'cancelled'];

const tell = (what) => console.log(JSON.stringify(what));
const statuses = {};
let troubles = 0;
const trouble = (what, error) => {
  troubles += 1;
  tell({ trouble: `${what}: ${error?.message ?? error}`.slice(0, 400) });
};
process.on('unhandledRejection', (error) => trouble('unhandled', error));

const { root, controller, add } = network(url, chainId, trouble);
const account = { id: 'lab', type: 'eip155:eoa', address: from, options: {}, methods: [], scopes: ['eip155:0'], metadata: { name: 'lab', importTime: 0, keyring: { type: 'HD Key Tree' } } };
const others = {
  'AccountsController:getSelectedAccount': () => account,
  'AccountsController:getState': () => ({ internalAccounts: { accounts: { lab: account }, selectedAccount: 'lab' } }),
  // the user says yes
  'ApprovalController:addRequest': async () => ({}),
  'RemoteFeatureFlagController:getState': () => ({
    cacheTimestamp: 0,
    remoteFeatureFlags: {
      confirmations_transactions: { acceleratedPolling: { defaultCountMax: 1_000_000, defaultIntervalMs: 250 } },
    },
  }),
};
for (const [name, act] of Object.entries(others)) root.registerActionHandler(name, act);
const networkActions = ['findNetworkClientIdByChainId', 'getNetworkClientById'].map((name) => `NetworkController:${name}`);
const messenger = new Messenger({ namespace: 'TransactionController', parent: root });
root.delegate({ messenger, actions: [...Object.keys(others), ...networkActions], events: ['NetworkController:stateChange'] });

const clientId = add();
await controller.setActiveNetwork(clientId);
await controller.lookupNetwork(clientId);

const transactions = new TransactionController({
  messenger,
  disableHistory: true,
  disableSendFlowHistory: true,
  disableSwaps: true,
  getCurrentNetworkEIP1559Compatibility: async () => true,
  getNetworkClientRegistry: () => controller.getNetworkClientRegistry(),
  getNetworkState: () => controller.state,
  isFirstTimeInteractionEnabled: () => false,
  isSimulationEnabled: () => false,
  incomingTransactions: { isEnabled: () => false },
  sign: async (transaction) => transaction.sign(Buffer.from(wallet.privateKey.slice(2), 'hex')),
  transactionHistoryLimit: 1000,
  hooks: {},
});

let ended = () => {};
messenger.subscribe('TransactionController:transactionStatusUpdated', ({ transactionMeta: { id, hash, status, warning, error } }) => {
  statuses[status] = (statuses[status] ?? 0) + 1;
  tell({ status, hash, warning: warning?.error ?? error?.message });
  if (ENDS.includes(status)) ended(id);
});

for (let n = 0; n < count; n += 1) {
  const end = new Promise((resolve) => {
    ended = resolve;
    setTimeout(() => trouble('late', `no end within ${PATIENCE_MS} ms`) ?? resolve(), PATIENCE_MS).unref();
  });
  try {
    const { result } = await transactions.addTransaction(
      { from, to: from, value: '0x1', gas: '0x5208', maxFeePerGas: '0x77359400', maxPriorityFeePerGas: '0x1' },
      { networkClientId: clientId, origin: 'metamask' },
    );
    await result;
    await end;
  } catch (error) {
    trouble('send', error);
  }
}
tell({ client: 'metamask', statuses, troubles });
process.exit(troubles ? 1 : 0);
