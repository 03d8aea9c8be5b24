"""web3.py sends one transfer and waits for its receipt.

    python web3py.py URL KEY

What it writes is said in viem.mjs.
"""
import json
import sys

from eth_account import Account
from web3 import Web3
from web3.middleware import SignAndSendRawMiddlewareBuilder


def tell(**what):
    print(json.dumps(what), flush=True)


def pay(url, key):
    web3 = Web3(Web3.HTTPProvider(url))
    account = Account.from_key(key)
    web3.middleware_onion.inject(SignAndSendRawMiddlewareBuilder.build(account), layer=0)
    sent = web3.eth.send_transaction({"from": account.address, "to": account.address, "value": 1})
    tell(sent=Web3.to_hex(sent))
    receipt = web3.eth.wait_for_transaction_receipt(sent, timeout=30, poll_latency=0.2)
    tell(mined=Web3.to_hex(receipt.transactionHash), success=receipt.status == 1)


try:
    pay(*sys.argv[1:3])
except Exception as error:  # whatever it is, the wallet has given up
    tell(error=f"{type(error).__name__}: {str(error)[:400]}")
