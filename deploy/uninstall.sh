#!/bin/sh
# Takes the program off this server, as root: `make uninstall`. Settings and data stay.
set -eu
[ "$(id -u)" = 0 ] || { echo "make uninstall: only root can: sudo make uninstall" >&2; exit 1; }
if [ -d /run/systemd/system ] && [ -e /etc/systemd/system/starledger.service ]; then
	systemctl disable --quiet --now starledger
fi
rm -f /etc/systemd/system/starledger.service /usr/local/bin/starledger
if [ -d /run/systemd/system ]; then systemctl daemon-reload; fi
rm -rf /opt/starledger
echo "The program is gone. These stay: /etc/starledger, /var/lib/starledger (every payment is in it), the user starledger."
