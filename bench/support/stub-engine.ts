import { IMAGE } from '../../test/support/installation.ts';

/**
 * An engine that costs next to nothing, for measurements of everything around it: HTTP/1.1 in Perl, which the llama.cpp image
 * made from Debian has. It answers what `bench/soak/caller.ts` asks: `/short` at once, `/slow` after 80 ms, `/stream` ten events
 * in 100 ms, each with the caller's id; `/health` is 200.
 */
const PROGRAM = String.raw`
use strict; use IO::Socket::INET;
$SIG{TERM} = sub { exit 0 }; $SIG{CHLD} = 'IGNORE'; $SIG{PIPE} = 'IGNORE';
my $listen = IO::Socket::INET->new(LocalPort => 8080, Listen => 1024, ReuseAddr => 1) or die $!;
while (1) {
  my $client = $listen->accept or next;
  if (fork) { close $client; next }
  close $listen; serve($client); exit 0;
}
sub serve {
  my $c = shift; my $in = '';
  while (1) {
    while ($in !~ /\r\n\r\n/) { sysread($c, $in, 65536, length $in) or return }
    $in =~ s/^(.*?)\r\n\r\n//s; my $head = $1;
    my ($path) = $head =~ /^\S+ (\S+)/; my ($id) = $head =~ /^x-soak-id: *(\S+)/mi; $id = '' unless defined $id;
    my ($length) = $head =~ /^content-length: *(\d+)/mi; $length = 0 unless defined $length;
    while (length $in < $length) { sysread($c, $in, 65536, length $in) or return }
    substr($in, 0, $length) = '';
    if ($path eq '/stream') {
      syswrite $c, "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n" or return;
      for my $n (1 .. 10) {
        select(undef, undef, undef, 0.01);
        my $event = "data: $id\n\n" . ($n == 10 ? "data: [DONE]\n\n" : '');
        syswrite $c, sprintf("%x\r\n%s\r\n%s", length $event, $event, $n == 10 ? "0\r\n\r\n" : '') or return;
      }
    } else {
      select(undef, undef, undef, 0.08) if $path eq '/slow';
      syswrite $c, "HTTP/1.1 200 OK\r\ncontent-length: " . length($id) . "\r\n\r\n$id" or return;
    }
  }
}`;

/** What a create request says to run it: `image` and `model` as `Installation.create` takes them. */
export const STUB_ENGINE = {
  image: { custom: { url: IMAGE, port: 8080, healthRoute: '/health' } },
  model: { framework: 'custom', command: ['perl'], args: ['-e', PROGRAM] },
};
