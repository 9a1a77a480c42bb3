import Silicon.Tail

/-!
# Chernoff's bound in rational numbers

No logarithm is needed: any `x` that is at least 1 gives a bound, the program chooses a good one and
the kernel evaluates both sides.
-/

noncomputable section

namespace Silicon

/-- Chernoff's bound at `x`. Python: `tpf.certificate.chernoff`. -/
def chernoff (p : Rat) (n k : Nat) (x : Rat) : Rat := (1 - p + p * x) ^ n / x ^ k

theorem one_le_pow {y : Rat} (h : 1 ≤ y) (n : Nat) : 1 ≤ y ^ n := by
  induction n with
  | zero => rw [Rat.pow_zero]; exact Rat.le_refl
  | succ n ih =>
    have a := Rat.mul_le_mul_of_nonneg_left h (show 0 ≤ y ^ n by grind)
    rw [Rat.pow_succ]
    grind

theorem one_le_base {p x : Rat} (h0 : 0 ≤ p) (hx : 1 ≤ x) : 1 ≤ 1 - p + p * x := by
  have := Rat.mul_nonneg h0 (show 0 ≤ x - 1 by grind)
  grind

/-- Chernoff's bound without a division. Python: `tpf.certificate.chernoff`. -/
theorem tail_chernoff {p x : Rat} (h0 : 0 ≤ p) (h1 : p ≤ 1) (hx : 1 ≤ x) (n k : Nat) :
    tail p n k * x ^ k ≤ (1 - p + p * x) ^ n := by
  induction n generalizing k with
  | zero =>
    cases k with
    | zero => rw [tail_zero, Rat.pow_zero, Rat.pow_zero]; decide +kernel
    | succ k => rw [tail_none, Rat.zero_mul, Rat.pow_zero]; decide +kernel
  | succ n ih =>
    cases k with
    | zero =>
      rw [tail_zero, Rat.pow_zero, Rat.mul_one]
      exact one_le_pow (one_le_base h0 hx) _
    | succ k =>
      have a := Rat.mul_le_mul_of_nonneg_left (ih k) (Rat.mul_nonneg h0 (show 0 ≤ x by grind))
      have b := Rat.mul_le_mul_of_nonneg_left (ih (k + 1)) (show 0 ≤ 1 - p by grind)
      rw [tail_succ, Rat.pow_succ (1 - p + p * x) n]
      rw [Rat.pow_succ] at b ⊢
      grind

/-- The tail is at most Chernoff's bound. Python: `tpf.certificate.chernoff`. -/
theorem tail_le_chernoff {p x : Rat} (h0 : 0 ≤ p) (h1 : p ≤ 1) (hx : 1 ≤ x) (n k : Nat) :
    tail p n k ≤ chernoff p n k x := by
  have hk : 0 < x ^ k := by have := one_le_pow hx k; grind
  have a := tail_chernoff h0 h1 hx n k
  unfold chernoff
  rw [← Rat.not_lt, Rat.div_lt_iff hk, Rat.not_lt]
  exact a

/-- Trials whose chance is never above `p`: at least `k` of `n` have a probability of at most `ε`
wherever the bound at `x` says so. Python: `tpf.certificate.chernoff`, `bound`. -/
theorem reach_chernoff {s : List Bool → Rat} {p x ε : Rat} (h : NeverAbove s p) (h1 : p ≤ 1)
    (hx : 1 ≤ x) (n k : Nat) (hε : (1 - p + p * x) ^ n ≤ ε * x ^ k) (past : List Bool) :
    reach s n k past ≤ ε := by
  have hk : 0 < x ^ k := by have := one_le_pow hx k; grind
  have a := tail_chernoff (Rat.le_trans (h.nonneg []) (h.le [])) h1 hx n k
  have b := reach_le_tail h h1 n k past
  exact Rat.le_trans b (Rat.le_of_mul_le_mul_right (Rat.le_trans a hε) hk)

/-- Where all trials succeed the bound falls without end in `x`: at most `p + 1 / x` for one trial. -/
example : tail (1 / 2) 1 1 = 1 / 2 ∧ chernoff (1 / 2) 1 1 1000 = 1001 / 2000 := by decide +kernel
example : tail (1 / 2) 16 13 ≤ chernoff (1 / 2) 16 13 4 :=
  tail_le_chernoff (by decide +kernel) (by decide +kernel) (by decide +kernel) 16 13
/-- A real size: 5300 right of 10000 at a baseline of one half has a probability below 10⁻⁷. -/
example : reach (fun _ => 1 / 2) 10000 5300 [] ≤ 1 / 10000000 :=
  reach_chernoff (x := 113 / 100) ⟨fun _ => by decide +kernel, fun _ => Rat.le_refl⟩
    (by decide +kernel) (by decide +kernel) 10000 5300 (by decide +kernel) []

end Silicon
