# Scenarios of `run` in which the machine itself misbehaves: its clock, its sleep, its processor, its network. Sourced.
#
#   SUSPEND   seconds that the service is stopped and frozen      [12]
#   KILLS     how often the daemon is killed                      [20]
#   STEAL     seconds in which it gets half of the time           [20]

# The service's own clock, which `clock +5h` sets: libfaketime in it, and in nothing else.
with_clock() {
  local lib; lib=$(X sh -c 'ls /usr/lib/*/faketime/libfaketimeMT.so.1 2>/dev/null | head -n 1')
  [ -n "$lib" ] || return 1
  clock +0
  drop_in "Environment=LD_PRELOAD=$lib FAKETIME_TIMESTAMP_FILE=/etc/llmwatch/clock FAKETIME_NO_CACHE=1 FAKETIME_DONT_FAKE_MONOTONIC=1"
}
clock() { write /etc/llmwatch/clock "$1"; }
clock_noticed() { # N: it noticed that the clock was set, N times so far; and probes on, on schedule
  within "the clock is set, for the ${1}. time: it notices" at_least "$1" EVENT=monitor.clock_set
  probing
}
at_least() { local n=$1; shift; [ "$(count "$@")" -ge "$n" ]; }
last_hook() { X journalctl -q --no-pager -o cat --since="$since" -u sinks | grep -o "\"type\":\"$1\".*" | tail -n 1; }

clock_set() {
  with_clock || { say "skip  $scenario: libfaketime is not installed (Debian: faketime)"; return; }
  start; probing
  clock +5h; clock_noticed 1
  clock -3h; clock_noticed 2
  clock +0; clock_noticed 3
  sleep 5
  equal "nothing is sent about it" "$(hooks | paste -sd,)" ""
  # In an outage, while a message waits for a receiver that is not there.
  X systemctl stop sinks
  vendor outage
  within "an incident opens" seen EVENT=incident.opened
  within "its message fails to send" seen EVENT=notification.retry
  clock -6h; clock_noticed 4
  X systemctl start sinks
  within "the message that waited comes all the same" hooked incident.opened
  clock +20h; clock_noticed 5
  clock +1h; clock_noticed 6
  vendor healthy
  within "the end is sent" hooked incident.resolved
  equal "nothing was sent twice, and nobody reminded" "$(hooks | paste -sd,)" "incident.opened,incident.resolved"
  local lasted; lasted=$(last_hook incident.resolved | grep -o '"duration_s":[0-9]*' | head -n 1 | cut -d: -f2)
  holds "it lasted as long as it did, not hours ($lasted s)" [ "${lasted:-9999}" -lt 3000 ]
  # A clock that was wrong all the time and is right at the next start.
  vendor outage
  within "a second outage is notified" hooked incident.opened 2
  X systemctl stop llmwatch; clock -4h; start
  within "the clock is behind the store: it notices" at_least 7 EVENT=monitor.clock_set
  probing
  vendor healthy
  within "the second end is sent" hooked incident.resolved 2
  equal "the process was never lost" "$(show NRestarts) $(show ActiveState)" "0 active"
  holds "the store is sound" query store check
}

suspend() {
  local pause=${SUSPEND:-12} n begun
  # A machine that sleeps stops systemd's clock as well; a process that is stopped does not.
  drop_in "WatchdogSec=infinity"
  start; probing
  begun=$SECONDS
  X systemctl kill -s STOP llmwatch; sleep "$pause"; X systemctl kill -s CONT llmwatch
  # A busy machine takes its time to stop it and to resume it.
  local most=$((SECONDS - begun + 2))
  within "it says that it slept" seen EVENT=monitor.asleep
  local slept; slept=$(X journalctl -q -u llmwatch --since="$since" EVENT=monitor.asleep -o json -n 1 | grep -o '"DURATION_S":"[0-9]*' | grep -o '[0-9]*$')
  holds "and for how long ($slept s)" [ "${slept:-0}" -ge $((pause - 1)) -a "${slept:-0}" -le $most ]
  probing
  if X systemctl freeze llmwatch 2>/dev/null; then
    n=$(count EVENT=monitor.asleep); sleep "$pause"; X systemctl thaw llmwatch
    within "frozen by its control group: the same" more "$n" EVENT=monitor.asleep
    probing
  else
    say "skip  $scenario: control groups cannot be frozen here"
  fi
  sleep 5
  equal "nobody is notified" "$(hooks | paste -sd,)" ""
  equal "no incident" "$(count EVENT=incident.opened)" 0
  # The time is a gap: no sample claims to know how things were.
  query export 2>/dev/null | grep -o '"started_at":"[^"]*' | cut -d'"' -f4 | sort | X sh -c 'cat >/tmp/starts'
  local gap; gap=$(X sh -c 'while read -r t; do date -d "$t" +%s; done </tmp/starts' | awk 'NR > 1 && $1 - last > most {most = $1 - last} {last = $1} END {print most}')
  holds "the samples have a gap of that length ($gap s)" [ "${gap:-0}" -ge $((pause - 1)) ]
}

# Half of the time is stolen, in slices of 50 ms, and the rest is fought for.
cpu_steal() {
  start; probing
  local pid since_n; pid=$(show MainPID); since_n=$(count EVENT=probe.completed)
  X timeout "${STEAL:-20}" bash -c '
    for i in $(seq $(($(nproc) + 1))); do while :; do :; done & done
    while kill -STOP "$1"; do sleep 0.05; kill -CONT "$1"; sleep 0.05; done' - "$pid"
  X systemctl kill -s CONT llmwatch
  # How many depends on the machine.
  within "it probed on" more "$since_n" EVENT=probe.completed
  equal "nobody was notified" "$(hooks | paste -sd,)" ""
  equal "no incident" "$(count EVENT=incident.opened)" 0
  probing
}

# A name with an IPv6 address behind which everything vanishes, and an IPv4 address that answers.
ipv6_black_hole() {
  X sh -c 'echo 0 >/proc/sys/net/ipv6/conf/lo/disable_ipv6; ip -6 addr add fd00:1::2/128 dev lo' 2>/dev/null ||
    { say "skip  $scenario: there is no IPv6 here"; return; }
  X sh -c 'grep -q both.test /etc/hosts || printf "fd00:1::2 both.test\n127.0.0.1 both.test\n" >>/etc/hosts'
  # A listener that never takes a connection: once its queue is full, what is sent to it is dropped without a word.
  write /run/systemd/system/hole.socket $'[Socket]\nListenStream=[fd00:1::2]:8787\nBacklog=1\n'
  write /run/systemd/system/hole.service $'[Service]\nExecStart=/bin/sleep infinity\n'
  write /run/systemd/system/crowd.service $'[Service]\nExecStart=/bin/bash -c "for i in 1 2 3 4 5 6; do (exec 3<>/dev/tcp/fd00:1::2/8787; sleep infinity) & done; wait"\n'
  X systemctl daemon-reload; X systemctl start hole.socket crowd
  within "what is sent to the address vanishes" vanishes
  write /etc/llmwatch/monitor.toml "${CONFIG/127.0.0.1:8787/both.test:8787}"
  start; probing
  within "the name is probed by its other address" at_least 3 EVENT=probe.completed ENDPOINT=one OUTCOME=ok REMOTE_ADDR=127.0.0.1:8787
  equal "no probe fails" "$(count EVENT=probe.completed OUTCOME=failed)" 0
  equal "nobody is notified" "$(hooks | paste -sd,)" ""
  X systemctl stop crowd hole.socket hole.service; X ip -6 addr del fd00:1::2/128 dev lo
}

vanishes() { X timeout 3 bash -c 'exec 3<>/dev/tcp/fd00:1::2/8787'; [ $? = 124 ]; }

# The daemon is killed again and again, at any moment, also while it starts, and outages come and go meanwhile.
kill_loop() {
  local rounds=${KILLS:-20} i n unsound=0 work; work=$(mktemp -d)
  drop_in "RestartSec=50ms
[Unit]
StartLimitIntervalSec=0"
  write /etc/llmwatch/monitor.toml "$CONFIG"$'group_wait = "0s"\n'
  start; probing
  : >"$work/recorded"
  for i in $(seq "$rounds"); do
    case $((i % 12)) in 1) vendor outage ;; 7) vendor healthy ;; esac
    sleep "$((RANDOM % 3)).$((RANDOM % 1000 + 1000))"
    n=$(show NRestarts)
    X systemctl kill -s KILL llmwatch
    local end=$((SECONDS + PATIENCE))
    until [ "$(show NRestarts)" != "$n" ] || [ $SECONDS -gt $end ]; do sleep 0.05; done
    # The store as the kill left it, and as the next start takes it up.
    query store check >"$work/check" 2>&1 || { unsound=$((unsound + 1)); cat "$work/check"; }
    # What is recorded now must be there at the end.
    [ $((i % 10)) != 0 ] || samples >>"$work/recorded"
  done
  equal "the store is sound after each of $rounds kills" "$unsound" 0
  within "active again" state_is active
  vendor healthy
  probing
  within "no incident is open" status_says 'no incident'
  sleep 5
  within "nothing waits to be delivered" nothing_waits
  equal "no sample that was recorded is gone" "$(sort -u "$work/recorded" | comm -23 - <(samples | sort -u) | grep -c .)" 0
  # Each message by its id: what was queued, and what came.
  X journalctl -q -a --no-pager -o json --since="$since" -u llmwatch EVENT=notification.queued CHANNEL=hook |
    grep -o '"NOTIFICATION":"[^"]*"' | cut -d'"' -f4 | sort -u >"$work/queued"
  X journalctl -q -a --no-pager -o cat --since="$since" -u sinks | grep -o '{.*"notification_id".*' >"$work/came"
  grep -o '"notification_id":"[^"]*"' "$work/came" | cut -d'"' -f4 | sort >"$work/ids"
  equal "every message that was queued came" "$(comm -23 "$work/queued" <(sort -u "$work/ids") | grep -c .)" 0
  # Each incident begins under one id and ends under one, however often these came; a beginning that was sent only
  # after the end says both.
  sed 's/.*"type":"incident\.\([a-z]*\)".*"notification_id":"\([^"]*\)".*"incident":{"id":"\([^"]*\)","number":[0-9]*,"state":"\([a-z]*\)".*/\3 \1 \4 \2/; t; d' \
    "$work/came" | sort -u >"$work/sent"
  local incidents; incidents=$(query incidents --json | grep -c '"number":')
  equal "each incident began once" "$(grep -c ' opened ' "$work/sent") $(grep ' opened ' "$work/sent" | cut -d' ' -f1 | sort -u | grep -c .)" "$incidents $incidents"
  equal "each ended once" "$(grep -c ' resolved [0-9a-f]' "$work/sent") $(grep ' resolved [0-9a-f]' "$work/sent" | cut -d' ' -f1 | sort -u | grep -c .)" "$incidents $incidents"
  say "      $rounds kills: $(show NRestarts) restarts, $incidents incidents, $(wc -l <"$work/queued") messages queued for one channel, $(wc -l <"$work/ids") came, $(samples | wc -l) samples"
}
samples() { query export 2>/dev/null | grep -o '^{"id":"[^"]*"' | cut -d'"' -f4; }
nothing_waits() { query store check | grep -q ' 0 notifications waiting'; }

# Only the recording hangs, on a disk that does not answer; the rest of the process is well. The watchdog must notice,
# because its ping comes from the task that records.
recording_hangs() {
  local image=$MACHINE_HOME/$MACHINE_NAME.img loop number
  command -v losetup >/dev/null && command -v mkfs.ext4 >/dev/null && command -v fsfreeze >/dev/null ||
    { say "skip  $scenario: losetup, mkfs.ext4 and fsfreeze are needed"; return; }
  truncate -s 64M "$image"; mkfs.ext4 -q "$image"
  loop=$(losetup --find --show "$image" 2>/dev/null) || { say "skip  $scenario: no loop device can be had"; rm -f "$image"; return; }
  number=${loop#/dev/loop}
  X mkdir -p /var/lib/llmwatch; X mknod "$loop" b 7 "$number"
  if X mount -t ext4 "$loop" /var/lib/llmwatch; then
    X chown llmwatch: /var/lib/llmwatch
    drop_in "WatchdogSec=15s
TimeoutAbortSec=60s"
    start; probing
    X fsfreeze --freeze /var/lib/llmwatch
    sleep 4
    holds "the page still answers" page_answers /healthz
    within "the watchdog notices that nothing is recorded" log_says 'Watchdog timeout'
    X fsfreeze --unfreeze /var/lib/llmwatch
    within "it is started again" restarted_to 1
    probing
    holds "the store is sound" query store check
    equal "nobody is notified about a vendor" "$(hooks | grep -c '^incident')" 0
    X systemctl stop llmwatch; X umount /var/lib/llmwatch
  else
    bad "the file system is mounted"
  fi
  X rm -f "$loop"; losetup --detach "$loop"; rm -f "$image"
}
page_answers() { X timeout 10 bash -c 'exec 3<>/dev/tcp/127.0.0.1/8686; printf "GET $1 HTTP/1.0\r\nhost: 127.0.0.1\r\n\r\n" >&3; head -1 <&3 | grep -q " 200 "' - "$1"; }
