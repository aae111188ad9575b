# Workers that are forked, fed over pipes and unix socket pairs, and waited for; threads in the parent; a spawned filter.
require 'digest'
require 'socket'

def digest(number)
  value = number.to_s
  1500.times { value = Digest::SHA256.digest(value) }
  value.unpack1('H*')[0, 16]
end

def worker(number)
  ours, theirs = UNIXSocket.pair
  pid = fork do
    ours.close
    while (line = theirs.gets)
      theirs.puts(digest(line.to_i + number))
    end
    exit!(20 + number)
  end
  theirs.close
  [pid, ours]
end

count = ARGV[0].to_i
workers = Array.new(3) { |number| worker(number) }
answers = workers.map do |_, socket|
  Thread.new do
    found = Array.new(count) do |n|
      socket.puts(n)
      socket.gets.chomp
    end
    socket.close
    found
  end
end.map(&:value)
File.write('answers.txt', answers.flatten.join("\n"))
workers.each { |pid, _| puts Process.wait2(pid)[1].exitstatus }

sorted = IO.popen(%w[sort -u], 'r+') do |filter|
  filter.write(answers.flatten.join("\n"))
  filter.close_write
  filter.read
end
puts Digest::SHA256.hexdigest(sorted)

read, write = IO.pipe
children = 4.times.map { |n| fork { read.close; sleep(0.05 * n); write.puts("child #{n}"); exit!(0) } }
write.close
puts read.read
puts `expr 6 '*' 7`
children.each { |pid| Process.wait(pid) }
exit(22)
