#!/bin/sh
# The operator's command line on an installed server: as the desk's own user, with its settings.
# A file that a command names is the user starledger's to write: give it a path below /var/lib/starledger.
cd /etc/starledger || exit 1
[ "$(id -u)" = 0 ] || { echo "starledger: only root can: sudo starledger $*" >&2; exit 1; }
# Who gives the order stands on record: the account behind sudo, else this one.
export SUDO_USER="${SUDO_USER:-$(id -un)}"
exec runuser -u starledger -- /opt/starledger/current/bin/starledger "$@"
