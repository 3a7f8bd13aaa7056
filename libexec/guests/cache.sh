# The cache of guests, for sourcing. Each guest lies in a folder whose name holds the hash of all that went into it, is
# made beside and moved in whole, and is made once when several ask at the same time.

# Fails with a message and what to do about it.
fail() {
  echo "holdfast: $1" >&2
  [ $# -gt 1 ] && echo "  $2" >&2
  exit 1
}

note() { echo "holdfast: $*" >&2; }

# The folder that keeps guests; HOLDFAST_CACHE overrides.
guest_cache() {
  local root
  if [ -n "${HOLDFAST_CACHE:-}" ]; then
    root=$HOLDFAST_CACHE
  elif [ "$(id -u)" = 0 ]; then
    root=/var/cache/holdfast
  else
    root=${XDG_CACHE_HOME:-$HOME/.cache}/holdfast
  fi
  mkdir -p "$root/guests" || fail "cannot make $root/guests" 'Set HOLDFAST_CACHE to a folder that you may write.'
  echo "$root/guests"
}

# Hash of the files under the given paths (names, modes and content) and of the text on standard input.
content_key() {
  local text
  text=$(cat)
  {
    printf '%s\n' "$text"
    find "$@" -type f -printf '%m %P\n' | LC_ALL=C sort
    find "$@" -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | cut -d' ' -f1
  } | sha256sum | cut -c1-16
}

# Package lists that are missing or days old name versions that mirrors no longer have.
refresh_lists() {
  [ -z "$(find /var/lib/apt/lists -maxdepth 1 -name '*_InRelease' -mtime -2 -print -quit 2>/dev/null)" ] || return 0
  [ "$(id -u)" = 0 ] || return 0
  apt-get -q -o DPkg::Lock::Timeout=120 update </dev/null >&2 || note 'apt-get update failed; going on with the package lists that are here'
}

# What apt knows of packages, as a hash that is cheap to have. Packages are looked up again only when it changes.
apt_state() {
  stat -c '%n %Y %s' /var/lib/apt/lists/*_Packages* /var/lib/apt/lists/*_InRelease 2>/dev/null | sha256sum | cut -c1-16
}

# cached NAME INPUTS RESOLVE BUILDER: prints the guest's folder. INPUTS is a hash of all that is at hand; RESOLVE sets
# `versions`, those of the packages that the guest is made from, and is asked only when INPUTS is new; BUILDER FOLDER makes
# the guest, when there is none of these versions.
cached() {
  local name=$1 inputs=$2 resolve=$3 builder=$4 cache folder
  cache=$(guest_cache)
  folder=$(readlink "$cache/.$name.$inputs" || true)
  if [ -z "$folder" ] || [ ! -e "$cache/$folder/manifest.json" ]; then
    exec 9>"$cache/.$name.lock"
    flock -w 1800 9 || fail "another build of the guest '$name' does not end" "See who holds $cache/.$name.lock."
    refresh_lists
    "$resolve"
    folder=$name-$(content_key "${BASH_SOURCE[0]}" "$here" <<<"$name $versions")
    if [ ! -e "$cache/$folder/manifest.json" ]; then
      # What a build that was killed left behind; the lock says that none runs now.
      rm -rf "$cache/.$name.work."*
      work=$(mktemp -d "$cache/.$name.work.XXXXXX")
      chmod 755 "$work"
      # `work` is global for the trap. Not in a condition, so that a failing command within the builder still ends it.
      trap 'rm -rf "$work"' EXIT
      "$builder" "$work" >&2
      [ -e "$work/manifest.json" ] || fail "the guest '$name' was not built"
      rm -rf "${cache:?}/$folder"
      mv "$work" "$cache/$folder"
      trap - EXIT
    fi
    find "$cache" -maxdepth 1 -name ".$name.*" -type l -delete
    ln -s "$folder" "$cache/.$name.$inputs"
    # Older builds that nobody has asked for in a month.
    find "$cache" -maxdepth 1 -name "$name-*" -type d -mtime +30 -exec rm -rf {} +
    exec 9>&-
  fi
  touch "$cache/$folder"
  echo "$cache/$folder"
}

# The real package behind a kernel metapackage.
kernel_package() {
  local package
  package=$(apt-cache depends --important "$1" 2>/dev/null | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)$/\1/p' | sed -n 1p)
  [ -n "$package" ] || fail "apt knows no package $1" "Run 'apt-get update', or look at the sources in /etc/apt."
  echo "$package"
}

# The version that apt would fetch.
candidate() {
  local version
  version=$(apt-cache policy "$1" | sed -n 's/^ *Candidate: //p' | sed -n 1p)
  [ -n "$version" ] && [ "$version" != '(none)' ] || fail "apt knows no package $1" "Run 'apt-get update', or look at the sources in /etc/apt."
  echo "$version"
}

# How much apt would fetch for one package, for people.
download_size() {
  apt-cache show "$1=$2" | awk '/^Size: / && !size { size = $2 } END { printf "%d MB\n", (size + 999999) / 1000000 }'
}

# fetch_package PACKAGE VERSION FOLDER: downloads the package (apt checks its signature) and unpacks it into FOLDER.
fetch_package() {
  local downloads
  downloads=$(mktemp -d)
  (
    cd "$downloads"
    # The unprivileged download user cannot write here; only that user is left out, not the check of signatures.
    apt-get -q -o APT::Sandbox::User="$(id -un)" download "$1=$2" >&2
  ) || { rm -rf "$downloads"; fail "cannot download $1 $2" "Run 'apt-get update' and see whether the mirror can be reached."; }
  mkdir -p "$3"
  dpkg-deb -x "$downloads"/*.deb "$3"
  rm -rf "$downloads"
}

sha256_of() { sha256sum "$1" | cut -d' ' -f1; }
