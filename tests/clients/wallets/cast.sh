#!/usr/bin/env bash
# A day with foundry's cast: a fresh process and a fresh connection for every call, through alloy's HTTP transport.
#
#   CAST=/path/to/cast cast.sh URL [--account N] [--seconds N]
#
# Arguments, output and exit status are those of day.mjs. cast retries 429 and 503 by itself after 0.8 s, which
# cannot be turned off: such a failure shows in slowest_ms only.
set -uo pipefail
url=$1
account=0
seconds=0
shift
while [ $# -gt 1 ]; do
  case $1 in
    --account) account=$2 ;;
    --seconds) seconds=$2 ;;
  esac
  shift 2
done

here=$(dirname "${BASH_SOURCE[0]}")
cast=${CAST:-cast}
export ETH_RPC_URL=$url NO_COLOR=1
chain_id=31337
# the values of bell.json are hex strings on lines of their own
value_of() { sed -n "s/^ *\"$1\": \"\(0x[0-9a-f]*\)\".*/\1/p" "$here/bell.json"; }
bytecode=$(value_of bytecode)
refusal=$(value_of refusal)

steps=0 sends=0 errors=0 told="" slowest_ms=0 slowest="" bell="" rings=0 deployed_at=0
answer=""

finish() {
  printf '{"client":"cast","steps":%d,"sends":%d,"slowest_ms":%d,"slowest":"%s","error_count":%d,"errors":[%s]}\n' \
    "$steps" "$sends" "$slowest_ms" "$slowest" "$errors" "$told"
  [ "$errors" = 0 ]
  exit
}

fail() {
  errors=$((errors + 1))
  if [ "$errors" -le 10 ]; then
    local text
    text=$(printf '%s: %s' "$1" "$2" | tr -d '"\\' | tr -s '[:cntrl:]' ' ' | cut -c1-400)
    told+="${told:+,}\"$(date +%T) $text\""
  fi
  if [ "$seconds" = 0 ]; then finish; fi
}

call() { timeout 20 "$cast" "$@"; }

# step NAME COMMAND...: runs it and leaves what it says in $answer.
step() {
  local name=$1 start took
  shift
  start=$(date +%s%3N)
  if ! answer=$("$@" 2>&1); then
    fail "$name" "$answer"
    answer=""
    steps=$((steps + 1))
    return 1
  fi
  took=$(($(date +%s%3N) - start))
  steps=$((steps + 1))
  case $name in
    wait* | send* | deploy*) ;; # waiting for a block is no sign of slowness
    *) if [ "$took" -gt "$slowest_ms" ]; then slowest_ms=$took slowest=$name; fi ;;
  esac
}

expect() { [ "$2" = "$3" ] || fail "$1" "$2, not $3"; }

key=$("$cast" wallet private-key --mnemonic "test test test test test test test test test test test junk" --mnemonic-index "$account") || exit 2
address=$("$cast" wallet address --private-key "$key") || exit 2

reads() {
  step "chain id" call chain-id && expect "chain id" "$answer" "$chain_id"
  step "net version" call rpc net_version && expect "net version" "$answer" "\"$chain_id\""
  step "block number" call block-number
  step "balance" call balance "$address"
  step "gas price" call gas-price
  step "fee history" call rpc eth_feeHistory 0x4 latest '[50]'
  step "nonce" call nonce "$address" --block pending
  step "block" call block latest --full --json
  if [ -n "$bell" ]; then contract_reads; fi
}

contract_reads() {
  step "code" call code "$bell" && [ "${#answer}" -gt 2 ] || fail "code" "none"
  step "call" call call "$bell" 'rung()(uint256)' && expect "call" "$answer" "$rings"
  step "reverting call" refused
  step "estimate" call estimate --from "$address" "$bell" 'ring()'
  step "logs" call logs --from-block "$deployed_at" --address "$bell" 'Rang(address indexed,uint256)' &&
    expect "logs" "$(grep -c transactionHash <<<"$answer")" "$rings"
}

# Succeeds when the call reverts and the revert data arrives whole.
refused() {
  local said
  if said=$(call call "$bell" 'refuse()' 2>&1); then
    echo "no revert: $said"
    return 1
  fi
  grep -q "$refusal" <<<"$said" || { echo "$said"; return 1; }
}

field() { sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p" <<<"$answer"; }

ring() {
  step "send" call send --private-key "$key" --timeout 15 --json "$bell" 'ring()' || return
  sends=$((sends + 1)) rings=$((rings + 1))
  local hash
  hash=$(field transactionHash)
  step "receipt" call receipt "$hash" status && expect "receipt" "$answer" true
  step "transaction" call tx "$hash" hash && expect "transaction" "$answer" "$hash"
}

echo up >&2
end=$(($(date +%s) + seconds))
reads
if step "deploy" call send --private-key "$key" --timeout 15 --json --create "$bytecode"; then
  sends=$((sends + 1))
  bell=$(field contractAddress)
  deployed_at=$(($(field blockNumber)))
  contract_reads
  ring
  contract_reads
fi
turn=0
while [ "$(date +%s)" -lt "$end" ]; do
  reads
  turn=$((turn + 1))
  if [ -n "$bell" ] && [ $((turn % 3)) = 0 ]; then ring; fi
done
finish
