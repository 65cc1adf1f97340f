/* An LSTM with its gradients by hand, as a program that `lstmcore certify` can hold to the golden pack: lstm DIRECTORY

   Reads case.json and case.safetensors there, writes result.safetensors (docs/pack.md, "A program of one's own").
   Exit status 3: this program has no such case. One layer of the plain cell, in either direction or both; any mask.
   Compiled with -DBUG, the gradient of the forget gate takes c of this step for that of the step before.  C99. */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { REFUSED = 3, MOST = 8192 };

static char *read_all(const char *folder, const char *name, size_t *size) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "rb");
    if (!file) { perror(path); exit(1); }
    fseek(file, 0, SEEK_END); *size = (size_t)ftell(file); rewind(file);
    char *all = malloc(*size + 1);
    if (fread(all, 1, *size, file) != *size) exit(1);
    all[*size] = 0; fclose(file);
    return all;
}

static char *header, *data; /* of case.safetensors */
static char *index_line;    /* case.json */

static const void *array(const char *what) {
    char key[100], *at;
    snprintf(key, sizeof key, "\"%s\"", what);
    if (!(at = strstr(header, key))) return NULL;
    return data + strtoull(strchr(strstr(at, "data_offsets"), '[') + 1, NULL, 10);
}

static const double *of_place(const char *group, const char *place, const char *name) {
    char what[100];
    snprintf(what, sizeof what, "%s/%s.%s", group, place, name);
    return array(what);
}

static const char *member(const char *key) {
    char quoted[80];
    snprintf(quoted, sizeof quoted, "\"%s\": ", key);
    const char *at = strstr(index_line, quoted);
    return at ? at + strlen(quoted) : "";
}

/* ---- results: kept until the end, then written as one safetensors file ---- */

static char out_header[MOST] = "{";
static double out[MOST * 4];
static size_t filled = 0;

/* Room for a result of n numbers, zeros; shape as JSON writes it. */
static double *result(const char *group, const char *place, const char *name, const char *shape, int n) {
    char key[100];
    if (filled + n > MOST * 4) exit(REFUSED);
    if (place) snprintf(key, sizeof key, "%s/%s.%s", group, place, name);
    else snprintf(key, sizeof key, "%s", group);
    size_t at = strlen(out_header);
    snprintf(out_header + at, sizeof out_header - at, "%s\"%s\":{\"dtype\":\"F64\",\"shape\":%s,\"data_offsets\":[%zu,%zu]}",
             filled ? "," : "", key, shape, filled * 8, (filled + n) * 8);
    filled += n;
    return out + filled - n;
}

static void write_results(const char *folder) {
    char path[4096];
    strcat(out_header, "}");
    while (strlen(out_header) % 8) strcat(out_header, " ");
    uint64_t length = strlen(out_header);
    snprintf(path, sizeof path, "%s/result.safetensors", folder);
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(&length, 8, 1, file) != 1 || fwrite(out_header, 1, length, file) != length ||
        fwrite(out, 8, filled, file) != filled || fclose(file)) { perror(path); exit(1); }
}

/* ---- the layer ---- */

static int T, B, I, H, D;

static double sigmoid(double a) { return a >= 0 ? 1.0 / (1.0 + exp(-a)) : exp(a) / (1.0 + exp(a)); }

/* One direction: its half of y (T, B, D H), begun at column `first`; adds to dx. */
static void direction(const char *place, int reverse, int first, double *y, double *dx) {
    const double *x = array("x"), *dy = array("dy"), *W = of_place("weights", place, "W_ih"), *U = of_place("weights", place, "W_hh"),
                 *b = of_place("weights", place, "b"), *h0 = of_place("state0", place, "h"), *c0 = of_place("state0", place, "c"),
                 *dh_last = of_place("dstate", place, "h"), *dc_last = of_place("dstate", place, "c");
    const unsigned char *mask = array("mask");
    char s[3][40];
    snprintf(s[0], 40, "[%d,%d]", B, H);
    double *h_last = result("state", place, "h", s[0], B * H), *c_last = result("state", place, "c", s[0], B * H),
           *dh0 = result("dstate0", place, "h", s[0], B * H), *dc0 = result("dstate0", place, "c", s[0], B * H);
    snprintf(s[0], 40, "[%d,%d]", I, 4 * H); snprintf(s[1], 40, "[%d,%d]", H, 4 * H); snprintf(s[2], 40, "[%d]", 4 * H);
    double *dW = result("dweights", place, "W_ih", s[0], I * 4 * H), *dU = result("dweights", place, "W_hh", s[1], H * 4 * H),
           *db = result("dweights", place, "b", s[2], 4 * H);
    double *h = calloc((T + 1) * H, 8), *c = calloc((T + 1) * H, 8), *gates = calloc(T * 4 * H, 8); /* of one row */
    double *da = calloc(4 * H, 8), *dh = calloc(H, 8), *dc = calloc(H, 8), *dh_prev = calloc(H, 8);
    for (int row = 0; row < B; row++) {
        for (int j = 0; j < H; j++) { h[j] = h0 ? h0[row * H + j] : 0; c[j] = c0 ? c0[row * H + j] : 0; }
        for (int step = 0; step < T; step++) {
            int t = reverse ? T - 1 - step : step, real = !mask || mask[t * B + row];
            const double *x_t = x + (t * B + row) * I;
            double *before = h + step * H, *c_prev = c + step * H, *a = gates + step * 4 * H;
            for (int j = 0; j < H; j++) { before[H + j] = before[j]; c_prev[H + j] = c_prev[j]; }
            if (!real) continue; /* the state is carried through, y stays zero */
            for (int k = 0; k < 4 * H; k++) {
                double sum = b[k];
                for (int i = 0; i < I; i++) sum += x_t[i] * W[i * 4 * H + k];
                for (int j = 0; j < H; j++) sum += before[j] * U[j * 4 * H + k];
                a[k] = k / H == 2 ? tanh(sum) : sigmoid(sum); /* i f g o */
            }
            for (int j = 0; j < H; j++) {
                c_prev[H + j] = a[H + j] * c_prev[j] + a[j] * a[2 * H + j];
                before[H + j] = a[3 * H + j] * tanh(c_prev[H + j]);
                y[(t * B + row) * D * H + first + j] = before[H + j];
            }
        }
        for (int j = 0; j < H; j++) {
            h_last[row * H + j] = h[T * H + j]; c_last[row * H + j] = c[T * H + j];
            dh[j] = dh_last ? dh_last[row * H + j] : 0; dc[j] = dc_last ? dc_last[row * H + j] : 0;
        }
        for (int step = T - 1; step >= 0; step--) {
            int t = reverse ? T - 1 - step : step;
            if (mask && !mask[t * B + row]) continue; /* the gradient is carried through */
            const double *x_t = x + (t * B + row) * I, *a = gates + step * 4 * H, *before = h + step * H, *c_prev = c + step * H;
            for (int j = 0; j < H; j++) {
                double i = a[j], f = a[H + j], g = a[2 * H + j], o = a[3 * H + j], shown = tanh(c_prev[H + j]);
                double of_h = dh[j] + (dy ? dy[(t * B + row) * D * H + first + j] : 0);
                double of_c = dc[j] + of_h * o * (1 - shown * shown);
                da[3 * H + j] = of_h * shown * o * (1 - o);
                da[2 * H + j] = of_c * i * (1 - g * g);
#ifdef BUG
                da[H + j] = of_c * c_prev[H + j] * f * (1 - f);
#else
                da[H + j] = of_c * c_prev[j] * f * (1 - f);
#endif
                da[j] = of_c * g * i * (1 - i);
                dc[j] = of_c * f;
                dh_prev[j] = 0;
            }
            for (int k = 0; k < 4 * H; k++) {
                db[k] += da[k];
                for (int i = 0; i < I; i++) { dW[i * 4 * H + k] += x_t[i] * da[k]; dx[(t * B + row) * I + i] += W[i * 4 * H + k] * da[k]; }
                for (int j = 0; j < H; j++) { dU[j * 4 * H + k] += before[j] * da[k]; dh_prev[j] += U[j * 4 * H + k] * da[k]; }
            }
            memcpy(dh, dh_prev, H * 8);
        }
        for (int j = 0; j < H; j++) { dh0[row * H + j] = dh[j]; dc0[row * H + j] = dc[j]; }
    }
}

int main(int argc, char **argv) {
    size_t size;
    if (argc != 2) { fprintf(stderr, "lstm DIRECTORY\n"); return 1; }
    index_line = read_all(argv[1], "case.json", &size);
    char *file = read_all(argv[1], "case.safetensors", &size), shape[60];
    uint64_t length;
    memcpy(&length, file, 8);
    header = file + 8; data = header + length; data[-1] = 0;
    if (strncmp(member("cell"), "\"lstm\"", 6) || strncmp(member("options"), "{}", 2) || atoi(member("layers")) != 1) {
        puts("one layer of the plain LSTM is all that there is");
        return REFUSED;
    }
    T = atoi(member("T")); B = atoi(member("B")); I = atoi(member("I")); H = atoi(member("H"));
    D = strncmp(member("direction"), "\"bi", 3) == 0 ? 2 : 1;
    snprintf(shape, sizeof shape, "[%d,%d,%d]", T, B, D * H);
    double *y = result("y", NULL, NULL, shape, T * B * D * H);
    snprintf(shape, sizeof shape, "[%d,%d,%d]", T, B, I);
    double *dx = result("dx", NULL, NULL, shape, T * B * I);
    direction("0.fw", strncmp(member("direction"), "\"rev", 4) == 0, 0, y, dx);
    if (D == 2) direction("0.bw", 1, H, y, dx);
    write_results(argv[1]);
    return 0;
}
