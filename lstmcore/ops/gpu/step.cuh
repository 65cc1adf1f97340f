// The LSTM step and its undoing for one unit of one row: ops/cells/lstm.py, transcribed.
// Numbers in brackets are the equations of docs/derivation.md; the formulas stand there as they do here.

// Four numbers that belong together: gates i f g o, or the gradients of their pre-activations.
template <class Real>
struct alignas(16) Four {
    Real i, f, g, o;
};

// 1 / (1 + exp(-a)) with full relative accuracy in both tails: exp only of numbers that are not above 0.
template <class Real>
__device__ __forceinline__ Real sigmoid(Real a) {
    const Real e = exp(-fabs(a));
    return (a >= 0 ? Real(1) : e) / (1 + e);
}

// (2)-(7):  i = sigmoid(a_i)   f = sigmoid(a_f)   g = tanh(a_g)   o = sigmoid(a_o)
//           c = f c_prev + i g                    h = o tanh(c)
// `a` comes in and the gates go out by the same place; c_prev comes in and c goes out.
template <class Real>
__device__ __forceinline__ Real step_forward(Four<Real>& a, Real& c) {
    a.i = sigmoid(a.i);          // (2)
    a.f = sigmoid(a.f);          // (3)
    a.g = tanh(a.g);             // (4)
    a.o = sigmoid(a.o);          // (5)
    c = a.f * c + a.i * a.g;     // (6)
    return a.o * tanh(c);        // (7)
}

// (8)-(17), the last line above first. dc comes in as the gradient of c from step t+1 and goes out as that of c_prev.
//   dc   = dc + dh o (1 - tanh^2 c)   do = dh tanh c     dg = dc i   di = dc g   dc_prev = dc f   df = dc c_prev
//   da_o = do o (1 - o)   da_g = dg (1 - g^2)   da_f = df f (1 - f)   da_i = di i (1 - i)
template <class Real>
__device__ __forceinline__ Four<Real> step_backward(Real dh, Real& dc, const Four<Real>& gates, Real c_prev, Real c) {
    const Real i = gates.i, f = gates.f, g = gates.g, o = gates.o, tanh_c = tanh(c);
    dc += dh * o * (1 - tanh_c * tanh_c);   // (8) undoes (7)
    const Real d_o = dh * tanh_c;           // (9)
    const Real dg = dc * i;                 // (10) undoes (6)
    const Real di = dc * g;                 // (11)
    const Real df = dc * c_prev;            // (13)
    dc *= f;                                // (12)
    Four<Real> da;
    da.o = d_o * o * (1 - o);               // (14) undoes (5)
    da.g = dg * (1 - g * g);                // (15) undoes (4)
    da.f = df * f * (1 - f);                // (16) undoes (3)
    da.i = di * i * (1 - i);                // (17) undoes (2)
    return da;
}
