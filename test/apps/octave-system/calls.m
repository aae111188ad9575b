% Programs that Octave starts: system() with and without output, popen in both directions, and its own work between.
rounds = str2double(argv(){1});
total = 0;
for n = 1:rounds
  [status, text] = system(sprintf("i=0; while [ $i -lt 400 ]; do i=$((i + 1)); done; echo $((i * %d)); exit %d", n, mod(n, 5)));
  total += str2double(text) + status;
  total += norm(inv(eye(40) + magic(40) / 1e4));
  writer = popen(sprintf("tr a-z A-Z >> lines.txt"), "w");
  fprintf(writer, "line %d of octave\n", n);
  pclose(writer);
  reader = popen(sprintf("seq %d | tail -n 1", n), "r");
  total += str2double(fgetl(reader));
  pclose(reader);
end
printf("%.10f\n", total);
exit(14);
