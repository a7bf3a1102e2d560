"""How far the bound is from log p, and why: one KL, divided by two chain rules.

Over all latents of a hierarchy, data included,

    E_q[−VLB] − H(q) = KL(q(x, z) ‖ p(x, z)).

Read from the top down, as p factorises, it is what a network is trained on: how far each p(z_s | z_t) is from
q(z_s | z_t), the *excess* of each step, with the mismatch of prior and decoder at the ends. Read from the data
up, as q factorises, it is

    KL(q(x) ‖ p(x)) + E KL(q(z | x) ‖ p(z | x)) = misfit + looseness.

None of the terms is negative, so the excess caps both, and a fixed q suffices: what p is trained to do makes
the bound tight as it makes the model right (Eq. 5.2–5.3). How much of the excess is looseness is another question,
which `gaussian` answers by linear algebra, `line` by quadrature and `trained`, for models of real data, in part.
"""
