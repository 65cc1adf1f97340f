/* One LSTM layer in C, float32, gates i f g o one after the other in (4H, I) and (4H, H), printed with %f. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#define T 5
#define I 3
#define H 4

static float W[4 * H][I], U[4 * H][H], b[4 * H], x[T][I], dy[T][H];
static float a[T][4 * H], h[T + 1][H], c[T + 1][H];
static float dW[4 * H][I], dU[4 * H][H], db[4 * H], dx[T][I];
static unsigned seed = 7;

static float draw(float scale) {
    float sum = 0;
    for (int k = 0; k < 12; k++) {
        seed = seed * 1664525u + 1013904223u;
        sum += (float)(seed >> 8) / 16777216.0f;
    }
    return rintf(scale * (sum - 6) * 1e6f) / 1e6f;
}
static void fill(float *p, int n, float scale) { for (int k = 0; k < n; k++) p[k] = draw(scale); }
static float sigmoid(float v) { return 1 / (1 + expf(-v)); }
static void put(const char *name, float *p, int rows, int cols) {
    printf("\"%s\": [", name);
    for (int r = 0; r < rows; r++) {
        if (cols > 1) printf("%s[", r ? ", " : "");
        for (int k = 0; k < cols; k++) printf("%s%f", k || (cols == 1 && r) ? ", " : "", p[r * cols + k]);
        if (cols > 1) printf("]");
    }
    printf("]");
}

int main(void) {
    fill(&W[0][0], 4 * H * I, 0.6f); fill(&U[0][0], 4 * H * H, 0.6f); fill(b, 4 * H, 0.3f);
    fill(&x[0][0], T * I, 1); fill(&dy[0][0], T * H, 1);
    for (int t = 0; t < T; t++) {
        for (int r = 0; r < 4 * H; r++) {
            float s = b[r];
            for (int k = 0; k < I; k++) s += W[r][k] * x[t][k];
            for (int k = 0; k < H; k++) s += U[r][k] * h[t][k];
            a[t][r] = r / H == 2 ? tanhf(s) : sigmoid(s);
        }
        for (int j = 0; j < H; j++) {
            c[t + 1][j] = a[t][H + j] * c[t][j] + a[t][j] * a[t][2 * H + j];
            h[t + 1][j] = a[t][3 * H + j] * tanhf(c[t + 1][j]);
        }
    }
    float dh[H] = {0}, dc[H] = {0};
    for (int t = T - 1; t >= 0; t--) {
        float da[4 * H];
        for (int j = 0; j < H; j++) {
            float i = a[t][j], f = a[t][H + j], g = a[t][2 * H + j], o = a[t][3 * H + j];
            float d = dh[j] + dy[t][j], tc = tanhf(c[t + 1][j]);
            float e = dc[j] + d * o * (1 - tc * tc);
            da[j] = e * g * i * (1 - i);
            da[H + j] = e * c[t][j] * f * (1 - f);
            da[2 * H + j] = e * i * (1 - g * g);
            da[3 * H + j] = d * tc * o * (1 - o);
            dc[j] = e * f;
        }
        memset(dh, 0, sizeof dh);
        for (int r = 0; r < 4 * H; r++) {
            db[r] += da[r];
            for (int k = 0; k < I; k++) { dW[r][k] += da[r] * x[t][k]; dx[t][k] += da[r] * W[r][k]; }
            for (int k = 0; k < H; k++) { dU[r][k] += da[r] * h[t][k]; dh[k] += da[r] * U[r][k]; }
        }
    }
    printf("{\"weights\": {");
    put("W", &W[0][0], 4 * H, I); printf(", "); put("U", &U[0][0], 4 * H, H); printf(", "); put("b", b, 4 * H, 1);
    printf("}, \"grads\": {");
    put("dW", &dW[0][0], 4 * H, I); printf(", "); put("dU", &dU[0][0], 4 * H, H); printf(", "); put("db", db, 4 * H, 1);
    printf(", "); put("x", &dx[0][0], T, I);
    printf("}, "); put("x", &x[0][0], T, I); printf(", "); put("dy", &dy[0][0], T, H); printf(", ");
    put("y", &h[1][0], T, H);
    printf("}\n");
    return 0;
}
