#!/bin/sh
# A systemd of its own, as process 1 of new namespaces: boot.sh UNITS SHARED PROGRAM
#
# Its root is this system's, where all that is written goes to memory; /sys and /proc/sys are read-only there, and the
# network is this system's. It loads the units in UNITS and the journal's, and nothing else; PROGRAM is
# /usr/local/bin/ppserver there, and SHARED is /shared, whose ppserver.toml is /etc/ppserver/ppserver.toml. It
# ends when this is told to by SIGTERM. To be run by root in a mount namespace of its own: unshare --mount.
set -eu

if [ "$1" != --inside ]; then
    mount -t tmpfs tmpfs /mnt
    mkdir /mnt/upper /mnt/work /mnt/root /mnt/cgroup
    mount -t cgroup2 cgroup2 /mnt/cgroup
    group=$(mktemp -d "/mnt/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup)/ppserver-XXXXXX")
    sh -c 'echo $$ > "$1/cgroup.procs" && shift && exec "$@"' sh "$group" \
        unshare --cgroup --mount --pid --uts --ipc --fork --kill-child sh "$0" --inside "$@" &
    trap 'kill -KILL $!' TERM
    wait || true
    trap '' TERM
    # Empty once the last of its processes is gone.
    until find "$group" -depth -type d -exec rmdir {} + 2> /dev/null; do sleep 0.01; done
    exit
fi

root=/mnt/root units=$2 shared=$3 program=$4
mount -t overlay overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work $root
mount -t proc proc $root/proc
mount --bind $root/proc/sys $root/proc/sys
mount -o remount,bind,ro $root/proc/sys
mount -t sysfs -o ro sysfs $root/sys
mount -t cgroup2 cgroup2 $root/sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs $root/run
mount -t tmpfs -o mode=755 tmpfs $root/dev
mkdir $root/dev/shm $root/dev/pts
mount -t devpts -o newinstance,ptmxmode=0666 devpts $root/dev/pts
ln -s pts/ptmx $root/dev/ptmx
ln -s /proc/self/fd $root/dev/fd
for device in null zero full random urandom tty; do
    : > $root/dev/$device
    mount --bind /dev/$device $root/dev/$device
done

mkdir -p $root/units $root/shared $root/usr/local/bin $root/etc/ppserver
for unit in systemd-journald.service systemd-journald.socket systemd-journald-dev-log.socket; do
    cp /lib/systemd/system/$unit $root/units
done
cp -r "$units"/. $root/units
mount --bind "$shared" $root/shared
rm -f $root/usr/local/bin/ppserver $root/etc/ppserver/ppserver.toml
: > $root/usr/local/bin/ppserver
mount --bind "$program" $root/usr/local/bin/ppserver
ln -s /shared/ppserver.toml $root/etc/ppserver/ppserver.toml

mkdir $root/old
cd $root
pivot_root . old
umount -l /old
exec env -i container=other PATH=/usr/local/bin:/usr/sbin:/usr/bin SYSTEMD_UNIT_PATH=/units SYSTEMD_GENERATOR_PATH=/none \
    /lib/systemd/systemd --system --show-status=no
