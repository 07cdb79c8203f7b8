#!/bin/sh
# Put our files into a machine image: DESTDIR=/mnt/image ami/install.sh (DESTDIR empty: this machine).
# Needs nothing but a shell and coreutils, reads only its own folder, starts nothing; run again it changes nothing.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=${DESTDIR:-}

install -d "$root/opt/dure/bin" "$root/opt/dure/toolkit" "$root/etc/systemd/system" "$root/etc/modprobe.d" "$root/etc/dure"
install -m 0755 "$here/bin/dure-node" "$here/bin/check-image" "$root/opt/dure/bin/"
install -m 0644 "$here/bin/fetch_toolkit.py" "$here/versions.lock" "$root/opt/dure/bin/"
# slurm.conf names a program without arguments
for verb in resume suspend resume-fail prolog-slurmctld prolog epilog; do
    ln -sfn dure-node "$root/opt/dure/bin/dure-node-$verb"
done
for unit in "$here"/systemd/*.service; do
    install -m 0644 "$unit" "$root/etc/systemd/system/"
done
install -m 0644 "$here"/etc/modprobe.d/*.conf "$root/etc/modprobe.d/"
# the packages' own units would start before the machine knows its cluster
for unit in munge slurmd slurmctld; do
    ln -sfn /dev/null "$root/etc/systemd/system/$unit.service"
done
