#!/bin/sh
# Runs the operator's command line on an installed server: as the desk's own user, with its settings.
# The user starledger writes the files that a command names: give them a path below /var/lib/starledger.
cd /etc/starledger || exit 1
[ "$(id -u)" = 0 ] || { echo "starledger: only root can: sudo starledger $*" >&2; exit 1; }
# The desk records the account that gives the order: the one behind sudo, else this one.
export SUDO_USER="${SUDO_USER:-$(id -un)}"
exec runuser -u starledger -- /opt/starledger/current/bin/starledger "$@"
