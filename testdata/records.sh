#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# records.sh: records testdata/records again, after a change of the probes' records. Called by
# "make records", as root, with ./ktrace built; "make golden" and the README's sessions follow from them.
set -euo pipefail
cd "$(dirname "$0")/.."
records=testdata/records
tmp=$(mktemp -d)
cleanup() {
	set +e
	umount "$tmp/etcd" 2>/dev/null
	umount "$tmp" 2>/dev/null
	rmdir "$tmp"
}
trap cleanup EXIT

mkdir -p $records
RECORD=$records testdata/demo.sh

# A journalled file system in memory: a fast disk.
mount -t tmpfs disk "$tmp"
truncate -s 64M "$tmp/disk"
mkfs.ext4 -q "$tmp/disk"
mkdir "$tmp/etcd"
mount -o loop "$tmp/disk" "$tmp/etcd"
mkdir -p "$tmp/etcd/member/wal"
./ktrace fsync --path "$tmp/etcd" -d 5s --ready-file "$tmp/ready" --record $records/fsync-wal.rec &
ktrace=$!
until [ -e "$tmp/ready" ]; do
	kill -0 $ktrace || exit 1
	read -rt 0.05 <> <(:) || true
done
fio --name=wal --directory="$tmp/etcd/member/wal" --filename=0.wal --rw=write --ioengine=sync --fdatasync=1 \
	--size=1m --bs=2300 >/dev/null
wait $ktrace

# The other verbs, in the tests' lab.
go test ./cmd/ktrace -count=1 -run '^TestEveryViewHasARecording$' -args -record
