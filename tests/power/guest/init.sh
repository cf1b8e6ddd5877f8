#!/bin/busybox sh
# First process of the guest: mounts the disk, starts karri, and carries out what comes over the serial line.
# What begins with POWER: is read by the test.
bb=/bin/busybox
$bb mount -t proc proc /proc
$bb mount -t sysfs sysfs /sys
$bb mount -t devtmpfs dev /dev
export PATH=/bin KARRI_ROOT_ACCESS_KEY=KARRITESTROOT KARRI_ROOT_SECRET_KEY=test-secret-of-the-root-user

options=
preload=
for word in $($bb cat /proc/cmdline); do
    case $word in
    power.mount=*) options=${word#power.mount=} ;;
    power.preload=*) preload=${word#power.preload=} ;;
    esac
done

while read -r module; do
    $bb insmod "/modules/$module" || echo "POWER: no module $module"
done < /modules/list
$bb ip link set lo up
$bb ip link set eth0 up
$bb ip addr add 10.0.2.15/24 dev eth0

if ! $bb mount -t ext4 ${options:+-o "$options"} /dev/vda /data; then
    echo "POWER: not mounted"
    $bb poweroff -f
fi
ulimit -n 8192
if [ ! -e /data/initialised ]; then
    karri cluster init --config /etc/karri.toml && $bb touch /data/initialised
    $bb sync
fi
(
    [ -n "$preload" ] && export LD_PRELOAD=$preload
    KARRI_LOG=warn karri server --config /etc/karri.toml
    echo "POWER: karri ended with $?"
) &

while read -r command; do
    case $command in
    fsck)
        karri fsck --config /etc/karri.toml
        echo "POWER: fsck $?"
        ;;
    esac
done
