#!/bin/bash
# A guest that is no Linux: the boot CD of Debian's memtest86+, which shows its screen some seconds after power-on.
# The last line of standard output is the folder: screen.iso, manifest.json.
set -euo pipefail
here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
. "$here/../../../libexec/guests/cache.sh"

resolve() {
  memtest_version=$(candidate memtest86+)
  versions="memtest86+=$memtest_version"
}

build() {
  local out=$1 package=$1/package
  note "building the guest 'screen' from memtest86+ $memtest_version"
  fetch_package memtest86+ "$memtest_version" "$package"
  cp "$package/usr/lib/memtest86+/memtest86+x64.iso" "$out/screen.iso"
  rm -rf "$package"
  cat >"$out/manifest.json" <<JSON
{
  "name": "screen",
  "kind": "cdrom",
  "cdrom": "screen.iso",
  "memoryMiB": 64,
  "background": [0, 0, 168],
  "packages": { "memtest86+": "$memtest_version" },
  "sha256": { "screen.iso": "$(sha256_of "$out/screen.iso")" }
}
JSON
}

cached screen "$(content_key "$here" "$here/../../../libexec/guests/cache.sh" <<<"$(apt_state)")" resolve build
