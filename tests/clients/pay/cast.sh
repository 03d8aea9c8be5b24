#!/usr/bin/env bash
# foundry's cast sends one transfer, and waits for its receipt in a process of its own.
#
#   CAST=/path/to/cast cast.sh URL KEY
#
# What it writes is said in viem.mjs.
set -uo pipefail
export ETH_RPC_URL=$1 NO_COLOR=1
key=$2
cast=${CAST:-cast}

give_up() {
  printf '{"error":"%s"}\n' "$(printf '%s' "$1" | tr -d '"\\' | tr -s '[:cntrl:]' ' ' | cut -c1-400)"
  exit 0
}

own=$("$cast" wallet address --private-key "$key" 2>&1) || give_up "$own"
sent=$(timeout 30 "$cast" send --async --private-key "$key" --value 1 "$own" 2>&1) || give_up "$sent"
printf '{"sent":"%s"}\n' "$sent"
status=$(timeout 30 "$cast" receipt "$sent" status 2>&1) || give_up "$status"
case $status in
  *1* | *true*) printf '{"mined":"%s","success":true}\n' "$sent" ;;
  *) printf '{"mined":"%s","success":false}\n' "$sent" ;;
esac
