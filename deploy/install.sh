#!/bin/sh
# Installs this checkout on a Debian server, as root: `make install`. A second run is an upgrade, and touches no data.
set -eu
# Everybody may run the program, whatever root's own umask is; secret files get their modes by name below.
umask 022
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}
home=/opt/starledger
settings=/etc/starledger
state=/var/lib/starledger
release=$home/$(date -u +%Y%m%dT%H%M%SZ)

say() { printf '%s\n' "$*"; }
die() { say "make install: $*" >&2; exit 1; }

[ "$(id -u)" = 0 ] || die "only root can: sudo make install"
"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || die "it takes Python 3.11 or newer: make install PYTHON=/path/to/python3"
"$PYTHON" -c 'import ensurepip' 2>/dev/null || die "Debian's Python lacks a part: apt install python3-venv"

# The account of the daemon.
id starledger >/dev/null 2>&1 ||
	useradd --system --user-group --home-dir $state --no-create-home --shell /usr/sbin/nologin starledger

# The new program stands beside the running one: the switch is one rename.
install -d -m 755 $home
"$PYTHON" -m venv "$release"
trap 'rm -rf "$release"' EXIT
"$release/bin/pip" install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements/runtime.txt -r requirements/build.txt
"$release/bin/pip" install --quiet --disable-pip-version-check --no-deps --no-build-isolation .
# A trial as the daemon's account, with the imports of a run: a failure here leaves the running program alone.
runuser -u starledger -- "$release/bin/starledger" --help >/dev/null || die "the user starledger cannot run $release/bin/starledger: the version before it goes on"
runuser -u starledger -- "$release/bin/python" -I -c 'import bot.desk.app' || die "the user starledger cannot import what is in $release: the version before it goes on"
trap - EXIT
ln -sfn "$release" $home/next
mv -T $home/next $home/current
# The version before it stays, for a way back.
for old in $(ls -d $home/2*Z | sort | head -n -2); do rm -rf "$old"; done

# The settings: made once, then the operator's own. The program may read them only.
install -d -m 750 -o root -g starledger $settings
install -m 644 catalog.example.toml $settings/catalog.example.toml
if [ ! -e $settings/.env ]; then
	install -m 640 -o root -g starledger .env.example $settings/.env
	sed -i "s|^# DATABASE_URL=.*|DATABASE_URL=sqlite+aiosqlite:///$state/starledger.db|" $settings/.env
fi
install -d -m 700 -o starledger -g starledger $state

install -m 755 deploy/starledger.sh /usr/local/bin/starledger
install -m 644 deploy/starledger.service /etc/systemd/system/starledger.service
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
	systemctl enable --quiet starledger
	systemctl try-restart starledger
else
	say "systemd does not run here: systemctl enable --now starledger is for later."
fi

say "Installed: $release"
[ -e $settings/catalog.toml ] || say "Next: write $settings/.env and $settings/catalog.toml (catalog.example.toml is beside it), then
  starledger doctor
  systemctl start starledger"
