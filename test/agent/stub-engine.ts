/**
 * A server in Perl, which every Debian image has: `/health` is always good, and what every other route does is changed by
 * signals (SIGHUP also by `STUB_MODE=bad`). `/count/<n>` counts to n, ten numbers a second. SIGHUP: answered with 500. SIGUSR1: accepted and never answered. SIGUSR2: it takes memory until it is stopped.
 */
export const STUB_ENGINE = [
  'perl',
  '-e',
  String.raw`
use Socket;
my $mode = $ENV{STUB_MODE} // '';
$SIG{TERM} = sub { exit 0 };
$SIG{HUP} = sub { $mode = 'bad' };
$SIG{USR1} = sub { $mode = 'mute' };
$SIG{USR2} = sub { my @all; push @all, 'x' x 10_000_000 while 1 };
$SIG{PIPE} = 'IGNORE';
$SIG{CHLD} = 'IGNORE';
socket(my $server, PF_INET, SOCK_STREAM, 0) or die;
setsockopt($server, SOL_SOCKET, SO_REUSEADDR, 1);
bind($server, sockaddr_in(8080, INADDR_ANY)) or die;
listen($server, 64);
$| = 1;
print "ready\n";
while (1) {
  accept(my $client, $server) or next;
  next if fork;
  my $first = <$client>;
  my $length = 0;
  while (my $line = <$client>) { $length = $1 if $line =~ /^content-length: (\d+)/i; last if $line =~ /^\r?\n$/ }
  read($client, my $body, $length) if $length;
  my $status = '200 OK';
  if ($first !~ m{/health}) {
    sleep 600 if $mode eq 'mute';
    $status = '500 Broken' if $mode eq 'bad';
  }
  if ($first =~ m{/count/(\d+)}) {
    syswrite($client, "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n");
    for my $n (1 .. $1) { syswrite($client, "$n\n"); select(undef, undef, undef, 0.1) }
    exit 0;
  }
  syswrite($client, "HTTP/1.1 $status\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}");
  exit 0;
}`,
];
