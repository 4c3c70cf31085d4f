#!/bin/sh
# The operator's command line on an installed server: as the desk's own user, with its settings.
# A file that a command names is the user starledger's to write: give it a path below /var/lib/starledger.
cd /etc/starledger || exit 1
[ "$(id -u)" = 0 ] || { echo "starledger: only root can: sudo starledger $*" >&2; exit 1; }
exec runuser -u starledger -- /opt/starledger/current/bin/starledger "$@"
