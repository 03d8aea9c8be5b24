"""A day of plain transfers with web3.py, for chains without contracts; retries are off.

    python transfer.py URL [--account N] [--seconds N]

Arguments, output and exit status are those of day.mjs.
"""
import argparse
import json
import sys
import time

from eth_account import Account
from web3 import Web3

MNEMONIC = "test test test test test test test test test test test junk"
CHAIN_ID = 31337
PATIENCE_S = 20
ERRORS_MAX = 10

parser = argparse.ArgumentParser()
parser.add_argument("url")
parser.add_argument("--account", type=int, default=0)
parser.add_argument("--seconds", type=float, default=0)
options = parser.parse_args()

web3 = Web3(Web3.HTTPProvider(options.url, request_kwargs={"timeout": PATIENCE_S}, exception_retry_configuration=None))
Account.enable_unaudited_hdwallet_features()
account = Account.from_mnemonic(MNEMONIC, account_path=f"m/44'/60'/0'/0/{options.account}")
receiver = Account.from_mnemonic(MNEMONIC, account_path=f"m/44'/60'/0'/0/{1000 + options.account}").address
told = {"client": "web3.py", "steps": 0, "sends": 0, "slowest_ms": 0, "slowest": "", "error_count": 0, "errors": []}
given = 0


def finish():
    print(json.dumps(told), flush=True)
    sys.exit(1 if told["error_count"] else 0)


def step(name, act):
    start = time.monotonic()
    try:
        return act()
    except Exception as error:  # every kind of failure is counted
        told["error_count"] += 1
        if len(told["errors"]) < ERRORS_MAX:
            told["errors"].append(f"{time.strftime('%T')} {name}: {type(error).__name__}: {str(error)[:400]}")
        if not options.seconds:
            finish()
        return None
    finally:
        told["steps"] += 1
        took = round((time.monotonic() - start) * 1000)
        if took > told["slowest_ms"] and not name.startswith("wait"):
            told["slowest_ms"], told["slowest"] = took, name


def send():
    transaction = {
        "chainId": CHAIN_ID,
        "nonce": web3.eth.get_transaction_count(account.address, "pending"),
        "to": receiver,
        "value": 10**15,
        "gas": web3.eth.estimate_gas({"from": account.address, "to": receiver, "value": 10**15}),
        "maxPriorityFeePerGas": web3.eth.max_priority_fee,
        "maxFeePerGas": 2 * web3.eth.gas_price,
    }
    return web3.eth.send_raw_transaction(account.sign_transaction(transaction).raw_transaction)


def check(receipt):
    assert receipt.status == 1 and receipt.gasUsed == 21_000, f"a receipt with {receipt.status} {receipt.gasUsed}"
    balance = web3.eth.get_balance(receiver, receipt.blockNumber)
    assert balance == given, f"{balance} arrived, not {given}"
    assert receipt.transactionHash in web3.eth.get_block(receipt.blockHash).transactions, "not in its block"
    assert len(web3.eth.fee_history(2, "latest", [50]).reward) > 0, "an empty fee history"


def round_trip():
    global given
    sent = step("send", send)
    if sent is None:
        return
    told["sends"] += 1
    receipt = step("wait for receipt", lambda: web3.eth.wait_for_transaction_receipt(sent, timeout=15, poll_latency=0.1))
    if receipt is not None:
        given += 10**15
        step("check", lambda: check(receipt))


print("up", file=sys.stderr, flush=True)
end = time.monotonic() + options.seconds
round_trip()
while time.monotonic() < end:
    round_trip()
finish()
