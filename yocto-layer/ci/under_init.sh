#!/bin/sh
# Runs the init scripts as sysvinit would, in namespaces of their own: closed first, then the daemon, which is killed and comes
# back, is told to end, and leaves its rules.
#     unshare --net --mount --pid --fork under_init.sh ROOT FACTORY   (as root; ROOT is where the recipe was installed)
set -eu
root=$1
factory=$2
mount -t tmpfs tmpfs /run
mount -t proc proc /proc
scratch=/run/scratch
mkdir -p $scratch
truncate -s 1M $scratch/config

# The scripts with the places of the installed files, and what cannot be had here left out.
for script in posternd postern-closed; do
    sed -e "s,/usr/libexec/postern,$scratch,g" -e "s,/usr/sbin/posternd,$scratch/posternd,g" \
        -e "s,/etc/default,$scratch,g" -e "s,--control-group postern,--control-group root," \
        "$root/etc/init.d/$script" >$scratch/$script.init
done
for file in closed keep; do
    sed -e "s,/etc/firewall,$root/etc/firewall,g" "$root/usr/libexec/postern/$file" >$scratch/$file
done
cp "$root/usr/sbin/posternd" $scratch/posternd
chmod 755 $scratch/*
sed -e "s,^STORE=.*,STORE=$scratch/config," -e 's,^WATCHDOG=.*,WATCHDOG=,' -e 's,^NICE=.*,NICE=0,' \
    -e 's,^OPTIONS="\(.*\)",OPTIONS="\1 --log stderr",' "$root/etc/default/posternd" >$scratch/posternd.default
# The script and its defaults have the same name in their folders.
sed -i "s,$scratch/posternd$,$scratch/posternd.default,; s,$scratch/posternd-factory,$scratch/factory,g" $scratch/posternd.init
echo "FACTORY=\"--factory $factory\"" >$scratch/factory

fail() {
    echo "under_init: $*"
    exit 1
}

# Waits until a command succeeds, for a minute.
eventually() {
    tried=0
    until "$@" >/dev/null 2>&1; do
        tried=$((tried + 1))
        [ $tried -lt 300 ] || fail "in vain: $*"
        sleep 0.2
    done
}

another() {
    now=$(pidof posternd) && [ "$now" != "$1" ] && [ -S /run/postern/control ]
}

sh $scratch/postern-closed.init start
iptables -S INPUT | grep -q -e '-P INPUT DROP' || fail "it is not shut before the daemon"
ip6tables -S INPUT | grep -q -e '-P INPUT DROP' || fail "IPv6 is not shut before the daemon"
sh $scratch/posternd.init start
[ -S /run/postern/control ] || fail "the script came back before there was a gate"
iptables -S INPUT | grep -q -e '-j POSTERN' || fail "there is no gate"
sh $scratch/posternd.init status || fail "it is said not to run"
first=$(pidof posternd)
kill -KILL "$first"
eventually another "$first"
sh $scratch/posternd.init restart
eventually another none
sh $scratch/posternd.init stop
! pidof posternd >/dev/null || fail "it did not end"
iptables -S INPUT | grep -q -e '-j POSTERN' || fail "the gate went with the daemon"
iptables -S INPUT | grep -q -e '-P INPUT DROP' || fail "it was opened at the end"
echo "closed, gate, killed and back, restarted, ended, still shut"
