/* A GRU in C, double, r z n in one matrix over x and one over h, the reset gate after the product, printed with %.9f. */
#include <math.h>
#include <stdio.h>
enum { T = 5, I = 2, H = 3 };
static double W[3 * H][I], U[3 * H][H], b[3 * H], bn[H], x[T][I], dy[T][H], h[T + 1][H], r[T][H], z[T][H], n[T][H], m[T][H];
static double dW[3 * H][I], dU[3 * H][H], db[3 * H], dbn[H], dx[T][I], dh[H];
static unsigned long state = 34;
static double draw(void) { state = (state * 16807) % 2147483647; return rint(2e6 * (state / 2147483647.0 - 0.5)) / 1e6; }
static void fill(double *p, int n, double scale) { for (int k = 0; k < n; k++) p[k] = scale * draw(); }
static void put(const char *name, const double *p, int rows, int cols, const char *end) {
    printf("\"%s\": [", name);
    for (int k = 0; k < rows * cols; k++)
        printf("%s%s%.9f%s", k ? ", " : "", cols > 1 && k % cols == 0 ? "[" : "", p[k], cols > 1 && k % cols == cols - 1 ? "]" : "");
    printf("]%s", end);
}
int main(void) {
    fill(&W[0][0], 3 * H * I, 1);
    fill(&U[0][0], 3 * H * H, 1);
    fill(b, 3 * H, 1);
    fill(bn, H, 1);
    fill(&x[0][0], T * I, 2);
    fill(&dy[0][0], T * H, 2);
    for (int t = 0; t < T; t++)
        for (int j = 0; j < H; j++) {
            double a[3] = {b[j], b[H + j], b[2 * H + j]}, q[3] = {0, 0, bn[j]};
            for (int g = 0; g < 3; g++) {
                for (int k = 0; k < I; k++) a[g] += W[g * H + j][k] * x[t][k];
                for (int k = 0; k < H; k++) q[g] += U[g * H + j][k] * h[t][k];
            }
            r[t][j] = 1 / (1 + exp(-a[0] - q[0]));
            z[t][j] = 1 / (1 + exp(-a[1] - q[1]));
            m[t][j] = q[2];
            n[t][j] = tanh(a[2] + r[t][j] * m[t][j]);
            h[t + 1][j] = (1 - z[t][j]) * n[t][j] + z[t][j] * h[t][j];
        }
    for (int t = T - 1; t >= 0; t--) {
        double next[H] = {0};
        for (int j = 0; j < H; j++) {
            double d = dh[j] + dy[t][j], dn = d * (1 - z[t][j]) * (1 - n[t][j] * n[t][j]);
            double dr = dn * m[t][j] * r[t][j] * (1 - r[t][j]);
            double dz = d * (h[t][j] - n[t][j]) * z[t][j] * (1 - z[t][j]);
            double da[3] = {dr, dz, dn}, dq[3] = {dr, dz, dn * r[t][j]};
            next[j] += d * z[t][j];
            dbn[j] += dq[2];
            for (int g = 0; g < 3; g++) {
                db[g * H + j] += da[g];
                for (int k = 0; k < I; k++) { dW[g * H + j][k] += da[g] * x[t][k]; dx[t][k] += da[g] * W[g * H + j][k]; }
                for (int k = 0; k < H; k++) { dU[g * H + j][k] += dq[g] * h[t][k]; next[k] += dq[g] * U[g * H + j][k]; }
            }
        }
        for (int k = 0; k < H; k++) dh[k] = next[k];
    }
    printf("{\"weights\": {");
    put("W", &W[0][0], 3 * H, I, ", "); put("U", &U[0][0], 3 * H, H, ", "); put("b", b, 3 * H, 1, ", "); put("b_hn", bn, H, 1, "}, ");
    printf("\"grads\": {");
    put("W", &dW[0][0], 3 * H, I, ", "); put("U", &dU[0][0], 3 * H, H, ", "); put("b", db, 3 * H, 1, ", "); put("b_hn", dbn, H, 1, ", ");
    put("x", &dx[0][0], T, I, "}, ");
    put("x", &x[0][0], T, I, ", "); put("dy", &dy[0][0], T, H, ", "); put("y", &h[1][0], T, H, "}\n");
    return 0;
}
