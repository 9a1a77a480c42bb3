import Silicon.Chernoff
import Silicon.Prediction

/-!
# Certificates: from the counts of a run to a statement about them

*If, given any past, a trial succeeds with probability at most the baseline, a count this high had
probability at most `α`.* The hypothesis stands in the statement. What depends on the numbers of the
run is one decidable condition, `ExactCheck` or `ChernoffCheck`, which the kernel evaluates. A
generated file (`asiclab proofs certify RUN`) looks like this:

```
import Silicon.Certificate

namespace Silicon.Run

/-- 5300 of 10000 right at a baseline of 1/2. -/
theorem count_improbable {s : List Bool → Rat} (h : NeverAbove s (1 / 2)) :
    reach s 10000 5300 [] ≤ 1 / 10000000 :=
  certificate_chernoff (x := 113 / 100) (by decide +kernel) h

/-- The same of any predictor, retrained after each trial or not, that no observation helps. -/
theorem independence_improbable {n m : Nat} {P : FinDist n m} (hi : P.Independent)
    (hb : P.priorVulnerability ≤ 1 / 2) (g : FinDist.Strategy n m) :
    P.chance g 10000 5300 ≤ 1 / 10000000 :=
  certificate_chernoff_independent (x := 113 / 100) (by decide +kernel) hi hb g

end Silicon.Run
```
-/

noncomputable section

namespace Silicon

/-! ## Trials drawn from a joint distribution -/

namespace FinDist

variable {n m : Nat}

/-- A predictor that may use all earlier secrets and observations (newest first), as one that is
retrained after each trial does: what it answers to an observation. -/
abbrev Strategy (n m : Nat) := List (Fin n × Fin m) → Fin m → Fin n

/-- The expectation of `f` of `t` pairs of secret and observation, oldest first, each drawn from `P`
independently of the others. -/
def expectation (P : FinDist n m) : Nat → (List (Fin n × Fin m) → Rat) → Rat
  | 0, f => f []
  | t + 1, f => sum n (fun i => sum m (fun j =>
      P.w i j * P.expectation t (fun l => f ((i, j) :: l))))

/-- How many of the pairs `l` the strategy predicts, after the pairs `past`. -/
def hits (g : Strategy n m) : List (Fin n × Fin m) → List (Fin n × Fin m) → Nat
  | [], _ => 0
  | x :: l, past => (if g past x.2 = x.1 then 1 else 0) + hits g l (x :: past)

/-- Probability that the strategy is right at least `k` times in `t` further trials. -/
def chanceAfter (P : FinDist n m) (g : Strategy n m) (t k : Nat)
    (past : List (Fin n × Fin m)) : Rat :=
  P.expectation t (fun l => if k ≤ hits g l past then 1 else 0)

/-- Probability that the strategy is right at least `k` times in `t` independent trials.
Python: `tpf.certificate.tail`. -/
def chance (P : FinDist n m) (g : Strategy n m) (t k : Nat) : Rat := P.chanceAfter g t k []

theorem expectation_one (P : FinDist n m) (t : Nat) : P.expectation t (fun _ => 1) = 1 := by
  induction t with
  | zero => rfl
  | succ t ih => simp only [expectation, ih, Rat.mul_one]; exact P.total

theorem chanceAfter_zero (P : FinDist n m) (g : Strategy n m) (t : Nat)
    (past : List (Fin n × Fin m)) : P.chanceAfter g t 0 past = 1 := by
  simp only [chanceAfter, Nat.zero_le, if_true]
  exact P.expectation_one t

theorem chanceAfter_none (P : FinDist n m) (g : Strategy n m) (k : Nat)
    (past : List (Fin n × Fin m)) : P.chanceAfter g 0 (k + 1) past = 0 := by
  simp [chanceAfter, expectation, hits]

theorem chanceAfter_succ (P : FinDist n m) (g : Strategy n m) (t k : Nat)
    (past : List (Fin n × Fin m)) :
    P.chanceAfter g (t + 1) (k + 1) past = sum n (fun i => sum m (fun j => P.w i j *
      (if g past j = i then P.chanceAfter g t k ((i, j) :: past)
        else P.chanceAfter g t (k + 1) ((i, j) :: past)))) := by
  unfold chanceAfter
  rw [expectation]
  refine sum_congr (fun i => sum_congr (fun j => ?_))
  congr 1
  by_cases h : g past j = i
  · rw [if_pos h]
    congr 1; funext l
    have e : (k + 1 ≤ hits g ((i, j) :: l) past) = (k ≤ hits g l ((i, j) :: past)) := by
      simp only [hits, if_pos h]; apply propext; omega
    simp only [e]
  · rw [if_neg h]
    congr 1; funext l
    have e : (k + 1 ≤ hits g ((i, j) :: l) past) = (k + 1 ≤ hits g l ((i, j) :: past)) := by
      simp only [hits, if_neg h, Nat.zero_add]
    simp only [e]

/-- The weight of the cells that a predictor gets right is its accuracy. -/
theorem sum_right_or_wrong (P : FinDist n m) (g : Fin m → Fin n) (u v : Rat) :
    sum n (fun i => sum m (fun j => P.w i j * (if g j = i then u else v)))
      = P.accuracy g * u + (1 - P.accuracy g) * v := by
  have h1 : sum n (fun i => sum m (fun j => P.w i j * (if g j = i then u else v)))
      = sum n (fun i => sum m (fun j => (if g j = i then P.w i j else 0) * (u - v)))
        + sum n (fun i => sum m (fun j => P.w i j * v)) := by
    rw [← sum_add]
    refine sum_congr (fun i => ?_)
    rw [← sum_add]
    refine sum_congr (fun j => ?_)
    split <;> grind
  have h2 : sum n (fun i => sum m (fun j => (if g j = i then P.w i j else 0) * (u - v)))
      = P.accuracy g * (u - v) := by
    rw [sum_congr (fun i => sum_mul_right _ _), sum_mul_right, sum_comm]
    congr 1
    exact sum_congr (fun j => sum_single' (g j) (fun i => P.w i j))
  have h3 : sum n (fun i => sum m (fun j => P.w i j * v)) = v := by
    rw [sum_congr (fun i => sum_mul_right _ _), sum_mul_right, P.total, Rat.one_mul]
  rw [h1, h2, h3]
  grind

theorem accuracy_nonneg (P : FinDist n m) (g : Fin m → Fin n) : 0 ≤ P.accuracy g :=
  sum_nonneg (fun j => P.nonneg (g j) j)

/-- *From independent trials to `reach`*: one predictor on independent trials has the count of trials
whose chance is its accuracy whatever happened. Python: `tpf.certificate.tail`. -/
theorem chance_eq_reach (P : FinDist n m) (g : Fin m → Fin n) (t k : Nat)
    (past : List (Fin n × Fin m)) (outcomes : List Bool) :
    P.chanceAfter (fun _ => g) t k past = reach (fun _ => P.accuracy g) t k outcomes := by
  induction t generalizing k past outcomes with
  | zero =>
    cases k with
    | zero => rw [chanceAfter_zero, reach_zero]
    | succ k => rw [chanceAfter_none, reach_none]
  | succ t ih =>
    cases k with
    | zero => rw [chanceAfter_zero, reach_zero]
    | succ k =>
      rw [chanceAfter_succ, reach_succ]
      simp only [ih _ _ (true :: outcomes), reach_const]
      exact P.sum_right_or_wrong g _ _

/-- The count of one predictor on independent trials is binomial. Python: `tpf.certificate.tail`. -/
theorem chance_eq_tail (P : FinDist n m) (g : Fin m → Fin n) (t k : Nat) :
    P.chance (fun _ => g) t k = tail (P.accuracy g) t k := by
  rw [chance, chance_eq_reach P g t k [] [], reach_const]

/-- A strategy none of whose predictors is more accurate than `p` is right at least `k` times with at
most the binomial probability, although it learns on the way. Python: `tpf.certificate.bound`. -/
theorem chance_le_tail (P : FinDist n m) (g : Strategy n m) {p : Rat}
    (hp : ∀ past, P.accuracy (g past) ≤ p) (h1 : p ≤ 1) (t k : Nat) :
    P.chance g t k ≤ tail p t k := by
  have key : ∀ past, P.chanceAfter g t k past ≤ tail p t k := by
    induction t generalizing k with
    | zero =>
      intro past
      cases k with
      | zero => rw [chanceAfter_zero, tail_zero]; exact Rat.le_refl
      | succ k => rw [chanceAfter_none, tail_none]; exact Rat.le_refl
    | succ t ih =>
      intro past
      cases k with
      | zero => rw [chanceAfter_zero, tail_zero]; exact Rat.le_refl
      | succ k =>
        have a : P.chanceAfter g (t + 1) (k + 1) past ≤ sum n (fun i => sum m (fun j => P.w i j *
            (if g past j = i then tail p t k else tail p t (k + 1)))) := by
          rw [chanceAfter_succ]
          refine sum_le (fun i => sum_le (fun j => Rat.mul_le_mul_of_nonneg_left ?_ (P.nonneg i j)))
          split
          · exact ih k _
          · exact ih (k + 1) _
        rw [P.sum_right_or_wrong] at a
        exact Rat.le_trans a
          (step_le_tail (P.accuracy_nonneg _) (hp past) h1 Rat.le_refl Rat.le_refl)
  exact key []

end FinDist

/-! ## The conditions that the kernel evaluates -/

/-- The exact tail of at least `k` of `n` at the chance `p`, in integers, is at most `α`. -/
def ExactCheck (p α : Rat) (n k : Nat) : Prop :=
  0 ≤ p ∧ p ≤ 1
    ∧ (tailCount p.num.toNat (p.den - p.num.toNat) n k : Rat) ≤ α * ((p.den ^ n : Nat) : Rat)

/-- Chernoff's bound at `x` of at least `k` of `n` at the chance `p` is at most `α`. -/
def ChernoffCheck (p x α : Rat) (n k : Nat) : Prop :=
  0 ≤ p ∧ p ≤ 1 ∧ 1 ≤ x ∧ (1 - p + p * x) ^ n ≤ α * x ^ k

instance (p α : Rat) (n k : Nat) : Decidable (ExactCheck p α n k) := by
  unfold ExactCheck; infer_instance
instance (p x α : Rat) (n k : Nat) : Decidable (ChernoffCheck p x α n k) := by
  unfold ChernoffCheck; infer_instance

theorem num_div_den (p : Rat) : (p.num : Rat) / (p.den : Rat) = p := by
  first
    | rw [← Rat.mkRat_eq_div, Rat.mkRat_self]
    | (have h := Rat.num_divInt_den p; rw [Rat.divInt_eq_div] at h; exact h)
    | (have h := Rat.num_divInt_den p; rw [Rat.divInt_eq_div] at h; exact_mod_cast h)

/-- Where the integers say so, the tail is at most `α`. Python: `tpf.certificate.tail`. -/
theorem tail_le_of_exactCheck {p α : Rat} {n k : Nat} (h : ExactCheck p α n k) :
    tail p n k ≤ α := by
  obtain ⟨h0, h1, h⟩ := h
  have hnum : (p.num.toNat : Int) = p.num := Int.toNat_of_nonneg (Rat.num_nonneg.mpr h0)
  have hdiv : (p.num : Rat) / (p.den : Rat) = p := num_div_den p
  have hd0 : (p.den : Rat) ≠ 0 := fun e => p.den_nz (Rat.natCast_eq_zero_iff.mp e)
  have hle : p.num.toNat ≤ p.den := by
    have a : p * (p.den : Rat) = (p.num : Rat) := by
      have a : (p.num : Rat) / (p.den : Rat) * (p.den : Rat) = (p.num : Rat) :=
        Rat.div_mul_cancel hd0
      rwa [hdiv] at a
    have b := Rat.mul_le_mul_of_nonneg_right h1 (show 0 ≤ (p.den : Rat) from Rat.natCast_nonneg)
    rw [a, Rat.one_mul] at b
    have c : ((p.num.toNat : Nat) : Rat) ≤ (p.den : Rat) := by
      rw [← Rat.intCast_natCast, hnum]; exact b
    exact Rat.natCast_le_natCast.mp c
  have hden : 0 < p.den := p.den_pos
  have hsum : p.num.toNat + (p.den - p.num.toNat) = p.den := by omega
  have e := tailNumerator_eq (a := p.num.toNat) (b := p.den - p.num.toNat) (by omega) n k
  have hp : ((p.num.toNat : Nat) : Rat) / (p.den : Rat) = p := by
    rw [← Rat.intCast_natCast, hnum]; exact hdiv
  rw [hsum, hp] at e
  rw [tailCount_eq, e, Rat.natCast_pow, Rat.mul_comm α] at h
  have hpos : 0 < (p.den : Rat) := by
    have : ((0 : Nat) : Rat) < (p.den : Rat) := Rat.natCast_lt_natCast.mpr hden
    exact this
  exact Rat.le_of_mul_le_mul_left h (Rat.pow_pos hpos)

/-- Where Chernoff's bound says so, the tail is at most `α`. Python: `tpf.certificate.chernoff`. -/
theorem tail_le_of_chernoffCheck {p x α : Rat} {n k : Nat} (h : ChernoffCheck p x α n k) :
    tail p n k ≤ α :=
  reach_const p n k [] ▸ reach_chernoff ⟨fun _ => h.1, fun _ => Rat.le_refl⟩ h.2.1 h.2.2.1 n k
    h.2.2.2 []

/-! ## The certificates -/

/-- *If each trial, given any past, succeeds with probability at most `p`, then at least `k` of `n`
had a probability of at most `α`* (exact tail). Source: what *Speaking to Silicon*, §5-8 leaves out.
Python: `tpf.certificate.bound`. -/
theorem certificate_exact {p α : Rat} {n k : Nat} (h : ExactCheck p α n k) {s : List Bool → Rat}
    (hs : NeverAbove s p) : reach s n k [] ≤ α :=
  Rat.le_trans (reach_le_tail hs h.2.1 n k []) (tail_le_of_exactCheck h)

/-- *If each trial, given any past, succeeds with probability at most `p`, then at least `k` of `n`
had a probability of at most `α`* (Chernoff). Source: what *Speaking to Silicon*, §5-8 leaves out.
Python: `tpf.certificate.bound`. -/
theorem certificate_chernoff {p x α : Rat} {n k : Nat} (h : ChernoffCheck p x α n k)
    {s : List Bool → Rat} (hs : NeverAbove s p) : reach s n k [] ≤ α :=
  Rat.le_trans (reach_le_tail hs h.2.1 n k []) (tail_le_of_chernoffCheck h)

/-- *If the trials are independent and the accuracy did not exceed the baseline `p`, a count this high
had a probability of at most `α`* (exact tail). The predictor may learn from earlier trials.
Python: `tpf.certificate.bound`. -/
theorem certificate_exact_predictor {p α : Rat} {t k : Nat} (h : ExactCheck p α t k) {n m : Nat}
    {P : FinDist n m} {g : FinDist.Strategy n m} (hb : ∀ past, P.accuracy (g past) ≤ p) :
    P.chance g t k ≤ α :=
  Rat.le_trans (P.chance_le_tail g hb h.2.1 t k) (tail_le_of_exactCheck h)

/-- *If the trials are independent and the accuracy did not exceed the baseline `p`, a count this high
had a probability of at most `α`* (Chernoff). The predictor may learn from earlier trials.
Python: `tpf.certificate.bound`. -/
theorem certificate_chernoff_predictor {p x α : Rat} {t k : Nat} (h : ChernoffCheck p x α t k)
    {n m : Nat} {P : FinDist n m} {g : FinDist.Strategy n m}
    (hb : ∀ past, P.accuracy (g past) ≤ p) : P.chance g t k ≤ α :=
  Rat.le_trans (P.chance_le_tail g hb h.2.1 t k) (tail_le_of_chernoffCheck h)

/-- *If the observation is independent of the secret and the best constant answer is right with
probability at most `p`, no strategy reaches this count with a probability above `α`* (exact tail): the
null hypothesis that a verdict of leakage rejects. Python: `tpf.certificate.bound`. -/
theorem certificate_exact_independent {p α : Rat} {t k : Nat} (h : ExactCheck p α t k) {n m : Nat}
    {P : FinDist n m} (hi : P.Independent) (hb : P.priorVulnerability ≤ p)
    (g : FinDist.Strategy n m) : P.chance g t k ≤ α :=
  certificate_exact_predictor h
    (fun past => Rat.le_trans (P.independent_accuracy_le_baseline hi (g past)) hb)

/-- *If the observation is independent of the secret and the best constant answer is right with
probability at most `p`, no strategy reaches this count with a probability above `α`* (Chernoff): the
null hypothesis that a verdict of leakage rejects. Python: `tpf.certificate.bound`. -/
theorem certificate_chernoff_independent {p x α : Rat} {t k : Nat} (h : ChernoffCheck p x α t k)
    {n m : Nat} {P : FinDist n m} (hi : P.Independent) (hb : P.priorVulnerability ≤ p)
    (g : FinDist.Strategy n m) : P.chance g t k ≤ α :=
  certificate_chernoff_predictor h
    (fun past => Rat.le_trans (P.independent_accuracy_le_baseline hi (g past)) hb)

/-! ## Instances on counts -/

/-- 70 of 100 at a baseline of one half. -/
example {s : List Bool → Rat} (hs : NeverAbove s (1 / 2)) : reach s 100 70 [] ≤ 1 / 10000 :=
  certificate_exact (by decide +kernel) hs
/-- 5300 of 10000 at a baseline of one half. -/
example {s : List Bool → Rat} (hs : NeverAbove s (1 / 2)) :
    reach s 10000 5300 [] ≤ 1 / 10000000 :=
  certificate_chernoff (x := 113 / 100) (by decide +kernel) hs
/-- 950 of 1000 where the constant answer is right nine times in ten. -/
example (g : FinDist.Strategy 2 2) (P : FinDist 2 2) (hi : P.Independent)
    (hb : P.priorVulnerability ≤ 9 / 10) : P.chance g 1000 950 ≤ 1 / 1000000 :=
  certificate_chernoff_independent (x := 19 / 9) (by decide +kernel) hi hb g
/-- Two fair coins that know nothing of each other: 15 of 16 right answers are improbable. -/
example (g : FinDist.Strategy 2 2) : coins.chance g 16 15 ≤ 1 / 1000 :=
  certificate_exact_independent (p := 1 / 2) (by decide +kernel)
    (by unfold FinDist.Independent; decide +kernel) (by decide +kernel) g
/-- The hypothesis is about accuracy, not independence: here the observation is the secret, and a
predictor that does not look at it is right every other time. -/
example : copy2.chance (fun _ _ => 0) 16 15 ≤ 1 / 1000 :=
  certificate_exact_predictor (p := 1 / 2) (by decide +kernel)
    (fun _ => (by decide +kernel : copy2.accuracy (fun _ => 0) ≤ 1 / 2))
example : copy2.chance (fun _ _ => 0) 400 300 ≤ 1 / 1000000 :=
  certificate_chernoff_predictor (p := 1 / 2) (x := 3) (by decide +kernel)
    (fun _ => (by decide +kernel : copy2.accuracy (fun _ => 0) ≤ 1 / 2))
/-- A count that is not improbable gets no certificate: 52 of 100 at one half. -/
example : ¬ ExactCheck (1 / 2) (1 / 20) 100 52 := by decide +kernel
/-- A strategy that is right whenever the observation is the secret does exceed the baseline. -/
example : copy2.chance (fun _ => id) 3 3 = 1 := by decide +kernel

end Silicon
