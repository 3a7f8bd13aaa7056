# Phases of checking and testing, for sourcing by dev/check and dev/test: set-up, one line per phase, totals at the end.

holdfast_root=$(dirname "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")")
. "$holdfast_root/libexec/bootstrap.sh"
cd "$holdfast_root"

# Node and the libraries, with this Node first on PATH for whatever a test starts.
set_up() {
  find_node || fetch_node
  modules_are_current || install_modules
  PATH=${holdfast_node%/*}:$PATH
  export PATH
  unset NODE_OPTIONS
  totals=$(mktemp -d)
  trap 'rm -rf "$totals"' EXIT
}

# phase NAME COMMAND...: runs it; a failure ends everything with the phase's name.
phase() {
  local name=$1 started=$SECONDS
  shift
  echo "== $name"
  if "$@"; then
    echo "== $name: good, $((SECONDS - started)) s"
  else
    local code=$?
    summary
    echo "== $name: FAILED (exit code $code)" >&2
    exit 1
  fi
}

bin() { "$holdfast_node" "$holdfast_root/node_modules/$1" "${@:2}"; }

check_format() { bin prettier/bin/prettier.cjs --check --log-level warn .; }
check_types() { bin typescript/bin/tsc --noEmit && bin typescript/bin/tsc --noEmit -p web; }
check_lint() { bin eslint/bin/eslint.js --max-warnings=0 --cache --cache-location node_modules/.cache/eslint/ .; }
check_layers() { bin dependency-cruiser/bin/dependency-cruiser.mjs --config .dependency-cruiser.cjs src test bench dev; }

# As many test files at a time as there are cores; node by itself leaves one core idle.
every_core="--test-concurrency=$(nproc)"

# run_tests NAME SECONDS OPTIONS... -- FOLDER...: node's own test runner over all *.test.ts in the folders. No tests there
# is said, not hidden; the caller sees to it that not everything is empty.
run_tests() {
  local name=$1 limit=$2 options=() files=()
  shift 2
  while [ "$1" != -- ]; do options+=("$1") && shift; done
  shift
  mapfile -t files < <(find "$@" -name '*.test.ts' -not -path '*/node_modules/*' 2>/dev/null | LC_ALL=C sort)
  if [ ${#files[@]} -eq 0 ]; then
    echo "   no tests in $* yet"
    return 0
  fi
  # One test that hangs must not hang the run: the runner ends it, and beyond that `timeout` ends the runner.
  timeout --kill-after=15 "$limit" "$holdfast_node" --test --test-reporter=spec --test-timeout=600000 "${options[@]}" "${files[@]}" </dev/null |
    tee "$totals/$name"
  return "${PIPESTATUS[0]}"
}

# The sum over all phases, in the words of node's runner.
summary() {
  [ -n "$(ls -A "$totals")" ] || return 0
  cat "$totals"/* | LC_ALL=C awk '
    $2 ~ /^(tests|suites|pass|fail|cancelled|skipped|todo|duration_ms)$/ && NF == 3 && $3 ~ /^[0-9.]+$/ && $1 !~ /[a-zA-Z]/ { sum[$2] += $3 }
    END { split("tests suites pass fail cancelled skipped todo duration_ms", order, " ")
      for (i = 1; i <= 8; i++) printf "\342\204\271 %s %s\n", order[i], sum[order[i]] + 0 }'
}

tests_run() { summary | awk '$2 == "tests" { print $3 }'; }
