#!/usr/bin/env bash
#SBATCH --ntasks-per-node=8 --gpus-per-node=8
# One vLLM server for each GPU, `sclvlm infer` over all of them; the servers are stopped when it ends. Exits as it does.
#
# This machine:  bash configs/servers/infer.sh MODEL CONFIG [section.key=value ...] [-- option of vllm serve ...]
# Slurm nodes:   sbatch --nodes=4 --cpus-per-task=8 configs/servers/infer.sh MODEL CONFIG [...] [-- ...]
#
# Environment: GPUS of a machine (8), PORT of its first server (8000), PATIENCE: seconds until all must answer (1800).
# Servers write to server-HOST-PORT.log in the working folder. Not yet run with vLLM: it follows its documentation.
set -euo pipefail
export PORT=${PORT:-8000}
GPUS=${GPUS:-8} PATIENCE=${PATIENCE:-1800}

fail() {
  echo "error: $1" >&2
  exit "${2:-1}"
}

serve() { # GPU, then what `vllm serve` takes
  local port=$((PORT + $1))
  export CUDA_VISIBLE_DEVICES=$1
  exec > "server-${SLURMD_NODENAME:-localhost}-$port.log" 2>&1
  exec vllm serve "${@:2}" --port "$port" --generation-config vllm
}
export -f serve # for the shells that srun starts

start() { # HOST, then what `vllm serve` takes
  local gpu
  if [[ -n ${SLURM_JOB_NODELIST:-} ]]; then
    srun --nodes=1 --nodelist="$1" --ntasks="$GPUS" --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" --kill-on-bad-exit=1 \
      bash -c 'serve "$SLURM_LOCALID" "$@"' serve "${@:2}" &
    running+=($!)
  fi
  for ((gpu = 0; gpu < GPUS; gpu++)); do
    urls+=("http://$1:$((PORT + gpu))")
    [[ -z ${SLURM_JOB_NODELIST:-} ]] || continue
    serve "$gpu" "${@:2}" &
    running+=($!)
  done
}

all_run() {
  local pid
  for pid in "${running[@]}"; do kill -0 "$pid" 2> /dev/null || return 1; done
}

any_runs() {
  local pid
  for pid in "${running[@]}"; do ! kill -0 "$pid" 2> /dev/null || return 0; done
  return 1
}

stop() { # asks first; a server that hangs is killed half a minute later
  local tries
  kill "${running[@]}" 2> /dev/null || true
  for ((tries = 0; tries < 150; tries++)); do
    any_runs || return 0
    sleep 0.2
  done
  kill -KILL "${running[@]}" 2> /dev/null || true
}

(($# >= 2)) || fail "usage: infer.sh MODEL CONFIG [section.key=value ...] [-- option of vllm serve ...]" 2
model=$1 config=$2 settings=() running=() urls=() hosts=localhost
shift 2
while (($#)) && [[ $1 != -- ]]; do
  settings+=("$1")
  shift
done
shift $(($# > 0))
[[ -z ${SLURM_JOB_NODELIST:-} ]] || hosts=$(scontrol show hostnames "$SLURM_JOB_NODELIST")

trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
for host in $hosts; do start "$host" "$model" "$@"; done
for url in "${urls[@]}"; do
  until curl --silent --fail --max-time 10 --output /dev/null "$url/health"; do
    all_run || fail "a server has ended before all of them answered. The files server-*.log tell why."
    ((SECONDS < PATIENCE)) || fail "$url does not answer after $PATIENCE seconds. See server-*.log, or raise PATIENCE."
    sleep 1
  done
done

list=$(printf ',%s/v1' "${urls[@]}")
sclvlm infer "$config" infer.engine=server "infer.server.urls=[${list:1}]" \
  "infer.server.concurrency=$((64 * ${#urls[@]}))" "${settings[@]}" &
running+=($!)
wait $!
