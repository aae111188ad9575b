# A server that forks a child for each request, asked over socket pairs by clients that are processes too.
use strict;
use warnings;
use IO::Handle;
use Socket;

my ($clients, $requests) = (4, $ARGV[0]);

sub answer {
    my ($n) = @_;
    my $x = $n;
    $x = ($x * 1103515245 + 12345) % 2147483648 for 1 .. 20000;
    return $x;
}

sub client {
    my ($number, $server) = @_;
    open(my $log, '>', "client.$number") or die "client.$number: $!";
    for my $n (1 .. $requests) {
        print $server "$number $n\n";
        my $line = <$server>;
        print $log $line;
    }
    close($log);
    exit(10 + $number);
}

my (%ends, %numbers);
for my $number (1 .. $clients) {
    socketpair(my $ours, my $theirs, AF_UNIX, SOCK_STREAM, 0) or die "socketpair: $!";
    $_->autoflush(1) for $ours, $theirs;
    my $pid = fork() // die "fork: $!";
    if (!$pid) { close($ours); client($number, $theirs); }
    close($theirs);
    ($ends{fileno($ours)}, $numbers{$pid}) = ($ours, $number);
}

my $served = 0;
while (%ends) {
    my $mask = '';
    vec($mask, $_, 1) = 1 for keys %ends;
    select($mask, undef, undef, undef) > 0 or next;
    for my $fd (grep { vec($mask, $_, 1) } sort keys %ends) {
        my $line = readline($ends{$fd});
        if (!defined $line) { close(delete $ends{$fd}); next; }
        my ($number, $n) = split ' ', $line;
        my $pid = fork() // die "fork: $!";
        if (!$pid) { $ends{$fd}->print("request $n of client $number: ", answer($n), "\n"); exit(0); }
        waitpid($pid, 0) == $pid && $? == 0 or die "the answering child ended with $?";
        $served++;
    }
}
my %statuses;
while ((my $pid = wait()) > 0) { $statuses{$numbers{$pid}} = $? >> 8; }
print "client $_ ended with $statuses{$_}\n" for sort keys %statuses;
print "$served requests\n";
exit(21);
