"""A day with web3.py: `requests` with pooled connections. Its own retries are off, so that every failure shows.

    python web3py.py URL [--account N] [--seconds N]

Arguments, output and exit status are those of day.mjs.
"""
import argparse
import json
import pathlib
import sys
import time

from eth_account import Account
from web3 import Web3
from web3.exceptions import ContractLogicError

MNEMONIC = "test test test test test test test test test test test junk"
CHAIN_ID = 31337
BELL = json.loads((pathlib.Path(__file__).parent / "bell.json").read_text())
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

told = {"client": "web3py", "steps": 0, "sends": 0, "slowest_ms": 0, "slowest": "", "error_count": 0, "errors": []}
bell = None
rings = 0
deployed_at = 0


def finish():
    print(json.dumps(told))
    sys.exit(1 if told["error_count"] else 0)


def step(name, act):
    """One thing the wallet does. Its result, or None when it failed in a long day."""
    start = time.monotonic()
    try:
        return act()
    except Exception as error:  # any failure is what we look for
        told["error_count"] += 1
        if len(told["errors"]) < ERRORS_MAX:
            told["errors"].append(f"{time.strftime('%H:%M:%S')} {name}: {type(error).__name__} {error}"[:600])
        if not options.seconds:
            finish()
        return None
    finally:
        told["steps"] += 1
        took = round((time.monotonic() - start) * 1000)
        if took > told["slowest_ms"] and not name.startswith("wait"):
            told["slowest_ms"], told["slowest"] = took, name


def expect(value, condition, text):
    if not condition:
        raise AssertionError(f"{text}: {value}")
    return value


def equals(value, wanted):
    return expect(value, value == wanted, f"not {wanted}")


def nonces():
    latest = web3.eth.get_transaction_count(account.address, "latest")
    pending = web3.eth.get_transaction_count(account.address, "pending")
    expect((latest, pending), pending >= latest, "the pending nonce is below the latest")


def batch():
    with web3.batch_requests() as requests:
        requests.add(web3.eth.get_balance(account.address))
        requests.add(web3.eth.get_block("latest"))
        balance, block = requests.execute()
    expect(balance, balance > 0, "no balance in a batch")
    expect(block, block["hash"], "a batched block without hash")


def reads():
    step("chain id", lambda: equals(web3.eth.chain_id, CHAIN_ID))
    step("net version", lambda: equals(web3.net.version, str(CHAIN_ID)))
    step("block number", lambda: web3.eth.block_number)
    step("balance", lambda: expect(0, web3.eth.get_balance(account.address) > 0, "no balance"))
    step("gas price", lambda: web3.eth.gas_price)
    step("priority fee", lambda: web3.eth.max_priority_fee)
    step("fee history", lambda: web3.eth.fee_history(4, "latest", [50]))
    step("nonces", nonces)
    step("block", lambda: web3.eth.get_block("latest", True)["hash"])
    step("batch", batch)
    if bell:
        contract_reads()


def refused():
    try:
        bell.functions.refuse().call()
    except ContractLogicError as error:
        equals(error.data, BELL["refusal"])
        expect(error.message, "the bell is cracked" in str(error.message), "another reason")
        return
    raise AssertionError("no revert")


def logs():
    found = bell.events.Rang().get_logs(from_block=deployed_at, to_block="latest")
    equals(len(found), rings)


def contract_reads():
    step("code", lambda: expect(0, len(web3.eth.get_code(bell.address)) > 0, "no code"))
    step("call", lambda: equals(bell.functions.rung().call(), rings))
    step("reverting call", refused)
    step("estimate gas", lambda: bell.functions.ring().estimate_gas({"from": account.address}))
    step("logs", logs)


def send(build):
    """Builds, signs, sends and waits; the receipt or None."""

    def sent():
        transaction = build({"from": account.address, "nonce": web3.eth.get_transaction_count(account.address, "pending")})
        return web3.eth.send_raw_transaction(account.sign_transaction(transaction).raw_transaction)

    sent_hash = step("send", sent)
    if sent_hash is None:
        return None
    told["sends"] += 1
    step("transaction by hash", lambda: equals(web3.eth.get_transaction(sent_hash)["hash"], sent_hash))
    receipt = step("wait for receipt", lambda: web3.eth.wait_for_transaction_receipt(sent_hash, timeout=15, poll_latency=0.1))
    if receipt:
        step("status", lambda: equals(receipt["status"], 1))
    return receipt


def ring():
    global rings
    if send(bell.functions.ring().build_transaction):
        rings += 1


print("up", file=sys.stderr, flush=True)
end = time.monotonic() + options.seconds
reads()
receipt = send(web3.eth.contract(abi=BELL["abi"], bytecode=BELL["bytecode"]).constructor().build_transaction)
if receipt:
    deployed_at = receipt["blockNumber"]
    bell = web3.eth.contract(address=receipt["contractAddress"], abi=BELL["abi"])
    contract_reads()
    ring()
    contract_reads()
turn = 0
while time.monotonic() < end:
    reads()
    if bell and turn % 10 == 9:
        ring()
    turn += 1
    time.sleep(0.05)
finish()
