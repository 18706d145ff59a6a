# Run in a clean Debian as root: /dist/kbo.deb and /dist/tree are what is handed out, $1 is their version.
set -eu
export LC_ALL=C
step() { now=$1; }
trap 'code=$?; [ "$code" = 0 ] || echo "FAILED at: $now"' EXIT

# Files of the system, without what the package manager itself keeps.
everything() {
    find / -xdev \( -path /dist -o -path /tmp -o -path /var/lib/dpkg -o -path /var/log -o -path /var/cache \) -prune -o -print | sort
}

step "listing what is there"
everything > /tmp/before

step "dpkg -i"
dpkg -i /dist/kbo.deb > /tmp/installed

step "the version"
[ "$(kbo --version)" = "kbo $1" ]
[ "$(dpkg-query -W -f '${Version} ${Status}' kbo)" = "$1 install ok installed" ]
[ -z "$(dpkg-query -W -f '${Depends}${Conffiles}' kbo)" ]

step "the installed program is the one of the archive"
cmp /usr/bin/kbo /dist/tree/bin/kbo

step "every installed file is what the package says"
[ -z "$(dpkg -V kbo)" ]

step "kbo with each example"
cp /etc/kbo/kbo.toml.example /tmp/kbo.toml
for example in /tmp/kbo.toml /usr/share/doc/kbo/examples/*.toml; do
    now="kbo list with $example"
    KBO_STORAGE_COLD=/tmp/cold KBO_LOG_FILE=/tmp/kbo.log kbo --config "$example" list | grep -qx "no backups yet"
done
step "kbo finds its file in /etc/kbo"
cp /etc/kbo/kbo.toml.example /etc/kbo/kbo.toml
KBO_STORAGE_COLD=/tmp/cold KBO_LOG_FILE=/tmp/kbo.log kbo list > /dev/null
rm /etc/kbo/kbo.toml

step "a page for every command"
commands=$(kbo --help | sed -n '/^Commands:/,/^Options:/s/^  \([a-z][a-z-]*\).*/\1/p' | grep -vx help)
[ "$(echo "$commands" | wc -l)" -ge 15 ]
for command in "" $commands; do
    page=/usr/share/man/man1/kbo${command:+-$command}.1.gz
    now="the page $page"
    gzip -dc "$page" | grep -q '^\.SH SYNOPSIS'
done

step "bash completes kbo's commands"
completed=$(bash -c '. /usr/share/bash-completion/completions/kbo; COMP_WORDS=(kbo res); COMP_CWORD=1; _kbo kbo res kbo; echo "${COMPREPLY[*]}"')
echo " $completed " | grep -q " restore "
step "the files of zsh and fish"
head -1 /usr/share/zsh/vendor-completions/_kbo | grep -qx '#compdef kbo'
grep -q '^complete -c kbo' /usr/share/fish/vendor_completions.d/kbo.fish

step "documents, examples and licence"
for file in README.md* CHANGELOG.md* copyright docs/guide.md* docs/runbooks/lost-disk.md* docs/reference/commands.md* \
    examples/systemd/kbo-backup.service examples/systemd/kbo-backup.timer; do
    now="the document $file"
    ls /usr/share/doc/kbo/$file > /dev/null
done

step "the archive's checksums"
(cd /dist/tree && sha256sum --strict --quiet -c SHA256SUMS)
[ "$(cd /dist/tree && find . -type f ! -name SHA256SUMS | wc -l)" = "$(wc -l < /dist/tree/SHA256SUMS)" ]

step "dpkg -r leaves nothing"
dpkg -r kbo > /tmp/removed
everything > /tmp/after
if ! diff /tmp/before /tmp/after; then exit 1; fi
if dpkg-query -W kbo 2> /dev/null | grep -q kbo; then exit 1; fi

echo "kbo $1 installs, runs and goes again: $(echo "$commands" | wc -l) commands with their pages, no file left behind"
