#!/usr/bin/env bash
# Our times beside those of the peers' programs, alternately, in one run; see README.md.
# Usage: compare.sh PEERS_FOLDER [ROUNDS]
#   PEERS_FOLDER  holds the peers' Python environments (made by setup.sh of the peers' scripts)
#   ROUNDS        of ours and theirs (3)
# The peers' scripts lie in peers/ of the folder named by EXITWAVE_DATA, else of ../shared beside the repository.
set -euo pipefail
peers=$(cd "${1:?usage: compare.sh PEERS_FOLDER [ROUNDS]}" && pwd)
rounds=${2:-3}
cd "$(dirname "${BASH_SOURCE[0]}")/.."
scripts=$(cd "${EXITWAVE_DATA:-../shared}/peers" && pwd)
python=$peers/main/bin/python
results=$(mktemp)
trap 'rm -f "$results"' EXIT

cargo bench --locked --no-run --bench fft --bench ptycho

# take NAME COMMAND...: waits for a quiet machine, keeps the last line that the command prints.
take() {
  local name=$1
  shift
  "$python" "$scripts/quiet.py" 120 || echo "the machine is not quiet: $name is worth little" >&2
  printf '%s\t%s\n' "$name" "$("$@" | tail -n 1)" | tee -a "$results"
}

for ((round = 1; round <= rounds; round++)); do
  echo "round $round of $rounds"
  take fft cargo bench --locked --bench fft -- 'fft2 64x256x256'
  take torch bash "$scripts/run.sh" "$peers" torch_ops.py fft2
  take ptycho cargo bench --locked --bench ptycho
  take ptyrad bash "$scripts/run.sh" "$peers" ptyrad_ptycho.py
done

"$python" - "$results" <<'PYTHON'
import json, statistics, sys

runs = {}
for line in open(sys.argv[1]):
    name, text = line.rstrip("\n").split("\t", 1)
    runs.setdefault(name, []).append(json.loads(text))

def seconds(name, key):
    return statistics.median(run[key] for run in runs[name])

torch, ptyrad = seconds("torch", "median_s"), seconds("ptyrad", "median_s")
busy = max(run.get("other_cpu_cores", 0.0) for name in ("torch", "ptyrad") for run in runs[name])
fft, epie = seconds("fft", "fft2_64x256x256_s"), seconds("ptycho", "epie_sweep_s")
descent, pure = seconds("ptycho", "descent_iteration_s"), seconds("ptycho", "fft_only_s")
print(f"64 transforms of 256²      ours {fft:.4f} s   torch {torch:.4f} s    ratio {torch / fft:.2f}")
print(f"ptychography, ePIE sweep   ours {epie:.4f} s   PtyRAD {ptyrad:.3f} s   ratio {ptyrad / epie:.2f}   {epie / pure:.2f} × pure transforms")
print(f"ptychography, descent      ours {descent:.4f} s   PtyRAD {ptyrad:.3f} s   ratio {ptyrad / descent:.2f}   {descent / pure:.2f} × pure transforms")
print(json.dumps(dict(fft_ratio=torch / fft, epie_ratio=ptyrad / epie, descent_ratio=ptyrad / descent, epie_over_fft=epie / pure,
                      descent_over_fft=descent / pure, other_cpu_cores=busy)))
if busy > 0.2:
    sys.exit(f"other processes took up to {busy} cores: measure again")
PYTHON
