#!/bin/sh
# The first process of a lab VM. It begins in new mount, pid, uts and network namespaces and makes them look like a machine:
# own /etc, /data, /run, /root, /home, /tmp and /var/lib/docker, so own users and hosts, one sshd, one container engine.
#   vm-init.sh kbo-lab-vm NAME DIRECTORY
set -eu
name=$2
dir=$3

hostname "$name"
# The VM's directory is kept at hand below /run, because the mounts that follow may cover the path it came from.
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/vm /run/sshd /run/lock
mount --bind "$dir" /run/vm
# All of /etc, and not single files: when the machine replaces one, a mount upon it vanishes.
mount --bind /run/vm/etc /etc
mount --bind /run/vm/data /data
mount --bind /run/vm/docker /var/lib/docker
mount --bind /run/vm/root /root
mount --bind /run/vm/home /home
mount --bind /run/vm/vartmp /var/tmp
mount --bind /run/vm/tmp /tmp
umount /run/vm

export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
cd /
"$(command -v sshd)" -D -e -f /etc/kbo-lab/sshd_config &
# The cgroup driver is named because the default one needs systemd where cgroups are unified.
dockerd --bridge=none --iptables=false --ip-masq=false --ip-forward=false --userland-proxy=false \
    --exec-opt native.cgroupdriver=cgroupfs --cgroup-parent="/kbo-lab/$name" &
# Reap whatever ends, for as long as the VM lives.
while :; do
    wait
    sleep 1
done
