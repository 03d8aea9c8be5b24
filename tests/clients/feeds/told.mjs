// How a feed is told: one JSON line per thing that the client handed to its user, in the order in which it did.
//
//   node viem.mjs URL --contract ADDRESS
//
// {"up":true} once everything is subscribed, then {"block":N,"hash":"0x.."}, {"log":"TRANSACTION","block":N,"hash":"0x..",
// "removed":false} and {"error":".."}. The script goes on until it is killed.
const args = process.argv.slice(2);

export const url = args[0] ?? 'ws://127.0.0.1:8545';
export const contract = args[args.indexOf('--contract') + 1];
// Rang(address indexed who, uint256 count)
export const RANG = '0x568004d1c712e9de32b6bfbe7228d41026359611c76e4d6d4c27807fd7f68a94';

const tell = (what) => console.log(JSON.stringify(what));

export const told = {
  up: () => tell({ up: true }),
  block: (number, hash) => tell({ block: Number(number), hash }),
  log: (log) => tell({ log: log.transactionHash, block: Number(log.blockNumber), hash: log.blockHash, removed: log.removed ?? false }),
  error: (error) => tell({ error: String(error?.shortMessage ?? error?.message ?? error).slice(0, 400) }),
};

process.on('uncaughtException', told.error);
process.on('unhandledRejection', told.error);
