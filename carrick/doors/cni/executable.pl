#!/usr/bin/perl
# Carrick's CNI plugin, written by `carrick cni install`: it carries its environment and standard input to
# the daemon and the answer back, and knows no more. No module is loaded, because each costs a millisecond.
# (The same in Python, for machines without Perl, is executable.py; frames.py describes what goes over the socket.)

my $socket = '/run/carrick/cni.sock';
my $patience_s = 120;
my $versions = '"0.3.0","0.3.1","0.4.0","1.0.0","1.1.0"';
my $command = $ENV{CNI_COMMAND} || '';
my ($AF_UNIX, $SOCK_STREAM) = (1, 1);

binmode STDIN;
binmode STDOUT;
my $config = '';
while (sysread(STDIN, $config, 65536, length $config)) { last if length($config) > 4194304 }
my ($version) = $config =~ /"cniVersion"\s*:\s*"([0-9.]{1,20})"/;
$version = '1.1.0' unless defined $version && index($versions, "\"$version\"") >= 0;
$socket = $1 if $config =~ m{"daemonSocket"\s*:\s*"(/[^"\\]{1,106})"};

if ($command eq 'VERSION') {
    finish(0, "{\"cniVersion\":\"$version\",\"supportedVersions\":[$versions]}");
}

my $environment = join '', map {"$_=$ENV{$_}\0"} grep {/^CNI_/} sort keys %ENV;
my $request = sprintf("carrick-cni/1 %d %d\n", length $environment, length $config) . $environment . $config;
my ($kept, $reason) = ('', '');

$SIG{PIPE} = 'IGNORE';
$SIG{ALRM} = sub { $reason = "no answer within $patience_s seconds"; unavailable() };
alarm $patience_s;
ask();
if ($command eq 'DEL' && keep()) {
    # The daemon may have come up just before it could see what we keep.
    ask();
    finish(0, '');
}
unavailable();

# Send the request, and end with the answer; return if there is none.
sub ask {
    my $link;
    socket($link, $AF_UNIX, $SOCK_STREAM, 0) or return failed();
    connect($link, pack('S a108', $AF_UNIX, $socket)) or return failed();
    for (my $sent = 0; $sent < length $request;) {
        my $more = syswrite($link, $request, length($request) - $sent, $sent);
        return failed() unless $more;
        $sent += $more;
    }
    my $answer = '';
    while (1) {
        my $more = sysread($link, $answer, 65536, length $answer);
        if (!$more) { $reason = 'it went away'; return }
        next unless $answer =~ m{^carrick-cni/1 (\d+) (\d+)\n};
        next if length($answer) - $+[0] < $2;
        unlink $kept if $kept;
        finish($1, substr($answer, $+[0], $2));
    }
}

sub failed {
    ($reason = "$!") =~ s/[^ -~]|["\\]//g;
    return;
}

# Leave a removal for the daemon to find. Without its directory there has been no daemon since the machine
# started, and so there is nothing to remove.
sub keep {
    my $directory = "$socket.deleted";
    return 1 unless -d $directory;
    my $name = "$directory/" . time . "-$$";
    open(my $file, '>:raw', "$name.new") or return 0;
    my $written = print $file $request;
    return 0 unless close($file) && $written && rename("$name.new", $name);
    return $kept = $name;
}

sub unavailable {
    # Not again, if it was the time that ran out.
    if ($command eq 'DEL' && ($kept || keep())) { finish(0, '') }
    my $code = $command eq 'STATUS' ? 50 : 11;
    finish(1, "{\"cniVersion\":\"$version\",\"code\":$code,"
        . "\"msg\":\"carrickd does not answer on $socket: $reason\","
        . '"details":"start it: systemctl start carrickd"}');
}

sub finish {
    my ($code, $text) = @_;
    print $text if length $text;
    close STDOUT;
    exit $code;
}
