% A chain of coupled pendulums by Runge-Kutta, its spectrum, and a matrix that is inverted again and again.
args = argv();
steps = str2double(args{end});
n = 40;
coupling = toeplitz([-2 1 zeros(1, n - 2)]);
state = [sin((1:n)' / 3); zeros(n, 1)];
f = @(s) [s(n+1:end); 4 * coupling * s(1:n) - 0.3 * sin(s(1:n))];
h = 0.002;
trace = zeros(steps, 1);
for k = 1:steps
  k1 = f(state); k2 = f(state + h/2*k1); k3 = f(state + h/2*k2); k4 = f(state + h*k3);
  state = state + h/6 * (k1 + 2*k2 + 2*k3 + k4);
  trace(k) = state(n/2);
  if mod(k, 1000) == 0
    printf("%d %.17g\n", k, trace(k));
  end
end
a = eye(n) + coupling / 10;
for k = 1:200
  a = inv(a) / norm(a, 'fro') + eye(n);
end
spectrum = abs(fft(trace));
printf("%.17g %.17g\n", trace(end), sum(spectrum));
out = fopen("trace.txt", "w");
fprintf(out, "%.17g\n", trace, a(:));
fclose(out);
