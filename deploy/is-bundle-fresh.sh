#!/bin/sh
# Usage: is-bundle-fresh.sh ROOT. Succeeds when ROOT/dist/nodelet.mjs is there and no source is newer: neither a file, nor
# a directory, whose time changes when a file comes or goes. Takes 5 ms.
cd "$1" || exit 1
[ -e dist/nodelet.mjs ] || exit 1
newer=$(find api apiserver client cmd cni core cri host kubelet lab probes proxy deploy/bundle.ts package-lock.json \
  \( -type d -o -name '*.json' -o -name '*.ts' ! -name '*.test.ts' \) -newer dist/nodelet.mjs -print -quit 2>/dev/null)
[ $? -ne 127 ] && [ -z "$newer" ] # without find nobody knows
