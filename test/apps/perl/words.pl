# Builds a language of pseudo-words, counts them in hashes, sorts, and writes a concordance.
use strict;
use warnings;
$| = 0;
my $count = shift;
my ($state, %seen, %pairs, $before) = (42);
sub dice { $state = ($state * 69069 + 1) & 0xffffffff; return ($state >> 12) % $_[0] }
my @syllables = map { my $v = $_; map { "$_$v" } qw(b d k l m n r s t v) } qw(a e i o u);
open my $book, '>', 'book.txt' or die "book.txt: $!";
for my $n (1 .. $count) {
  my $word = join '', map { $syllables[dice(50)] } 0 .. dice(2);
  $seen{$word}++;
  $pairs{"$before $word"}++ if defined $before;
  $before = $word;
  print $book $word, $n % 12 ? ' ' : "\n";
  print "$n words, ", scalar(keys %seen), " different\n" if $n % 50_000 == 0;
}
close $book;
open my $list, '>', 'concordance.txt' or die "concordance.txt: $!";
printf $list "%6d %s\n", $seen{$_}, $_ for sort { $seen{$b} <=> $seen{$a} || $a cmp $b } keys %seen;
my @top = (sort { $pairs{$b} <=> $pairs{$a} || $a cmp $b } keys %pairs)[0 .. 19];
print "$pairs{$_} $_\n" for @top;
exit 7;
