% Octave: rows are steps, gate by gate, rows times matrices; numbers printed in full as JSON
rand('seed', 3); randn('seed', 3);
T = 6; I = 3; H = 4;
Wi = randn(I, H) / 2; Wf = randn(I, H) / 2; Wo = randn(I, H) / 2; Wg = randn(I, H) / 2;
Ui = randn(H, H) / 2; Uf = randn(H, H) / 2; Uo = randn(H, H) / 2; Ug = randn(H, H) / 2;
bi = randn(1, H) / 3; bf = randn(1, H) / 3; bo = randn(1, H) / 3; bg = randn(1, H) / 3;
x = randn(T, I); dy = randn(T, H);
sig = @(v) 1 ./ (1 + exp(-v));
h = zeros(T + 1, H); c = zeros(T + 1, H);
i = zeros(T, H); f = i; o = i; g = i;
for t = 1:T
  i(t, :) = sig(x(t, :) * Wi + h(t, :) * Ui + bi);
  f(t, :) = sig(x(t, :) * Wf + h(t, :) * Uf + bf);
  o(t, :) = sig(x(t, :) * Wo + h(t, :) * Uo + bo);
  g(t, :) = tanh(x(t, :) * Wg + h(t, :) * Ug + bg);
  c(t + 1, :) = f(t, :) .* c(t, :) + i(t, :) .* g(t, :);
  h(t + 1, :) = o(t, :) .* tanh(c(t + 1, :));
end
dWi = zeros(I, H); dWf = dWi; dWo = dWi; dWg = dWi;
dUi = zeros(H, H); dUf = dUi; dUo = dUi; dUg = dUi;
dbi = zeros(1, H); dbf = dbi; dbo = dbi; dbg = dbi;
dx = zeros(T, I); dh = zeros(1, H); dc = zeros(1, H);
for t = T:-1:1
  dh = dh + dy(t, :);
  th = tanh(c(t + 1, :));
  d_o = dh .* th .* o(t, :) .* (1 - o(t, :));
  dc = dc + dh .* o(t, :) .* (1 - th .^ 2);
  di = dc .* g(t, :) .* i(t, :) .* (1 - i(t, :));
  df = dc .* c(t, :) .* f(t, :) .* (1 - f(t, :));
  dg = dc .* i(t, :) .* (1 - g(t, :) .^ 2);
  dWi = dWi + x(t, :)' * di; dWf = dWf + x(t, :)' * df; dWo = dWo + x(t, :)' * d_o; dWg = dWg + x(t, :)' * dg;
  dUi = dUi + h(t, :)' * di; dUf = dUf + h(t, :)' * df; dUo = dUo + h(t, :)' * d_o; dUg = dUg + h(t, :)' * dg;
  dbi = dbi + di; dbf = dbf + df; dbo = dbo + d_o; dbg = dbg + dg;
  dx(t, :) = di * Wi' + df * Wf' + d_o * Wo' + dg * Wg';
  dh = di * Ui' + df * Uf' + d_o * Uo' + dg * Ug';
  dc = dc .* f(t, :);
end
function say(name, M, last)
  printf('"%s": [', name);
  for k = 1:rows(M)
    printf('[%s]', strjoin(arrayfun(@(v) sprintf('%.17g', v), M(k, :), 'UniformOutput', false), ', '));
    if k < rows(M), printf(', '); end
  end
  printf(']%s', last);
end
printf('{"weights": {');
say('Wi', Wi, ', '); say('Wf', Wf, ', '); say('Wo', Wo, ', '); say('Wg', Wg, ', ');
say('Ui', Ui, ', '); say('Uf', Uf, ', '); say('Uo', Uo, ', '); say('Ug', Ug, ', ');
say('bi', bi, ', '); say('bf', bf, ', '); say('bo', bo, ', '); say('bg', bg, '}, "grads": {');
say('Wi', dWi, ', '); say('Wf', dWf, ', '); say('Wo', dWo, ', '); say('Wg', dWg, ', ');
say('Ui', dUi, ', '); say('Uf', dUf, ', '); say('Uo', dUo, ', '); say('Ug', dUg, ', ');
say('bi', dbi, ', '); say('bf', dbf, ', '); say('bo', dbo, ', '); say('bg', dbg, ', '); say('x', dx, '}, ');
say('x', x, ', '); say('dy', dy, ', '); say('y', h(2:end, :), '}');
