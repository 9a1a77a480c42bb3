import Silicon.Certificate

/-!
# Telling two devices apart by their responses

Two devices give responses with the distributions `p` and `q`. An event tells them apart as far as its
probabilities differ; the best event attains the total variation. Challenges are independent of each
other; each may have distributions of its own.
-/

noncomputable section

namespace Silicon

/-- A distribution of `m` responses. -/
structure Dist (m : Nat) where
  w : Fin m → Rat
  nonneg : ∀ i, 0 ≤ w i
  total : sum m w = 1

namespace Dist

variable {m : Nat}

/-- Probability of the event `A`. -/
def prob (p : Dist m) (A : Fin m → Bool) : Rat := sum m (fun i => if A i then p.w i else 0)

/-- Total variation: half the sum of the differences.
Python: `tpf.puf.error_rates`. -/
def tv (p q : Dist m) : Rat := sum m (fun i => rabs (p.w i - q.w i)) / 2

/-- The responses that are likelier for `p`: the best event. -/
def witness (p q : Dist m) : Fin m → Bool := fun i => decide (q.w i < p.w i)

theorem sub_self (x : Rat) : x - x = 0 := by grind
theorem half (x : Rat) : 2 * x / 2 = x := by grind

theorem tv_eq_sum_pos (p q : Dist m) : tv p q = sum m (fun i => pos (p.w i - q.w i)) := by
  have h : sum m (fun i => rabs (p.w i - q.w i))
      = 2 * sum m (fun i => pos (p.w i - q.w i)) := by
    rw [sum_congr (fun i => rabs_eq _), sum_sub, sum_sub, sum_mul_left]
    have e1 := p.total
    have e2 := q.total
    show _ - (sum m p.w - sum m q.w) = _
    grind
  rw [tv, h, half]

/-- No event tells the devices apart by more than the total variation.
Python: `tpf.puf.error_rates`. -/
theorem event_le_tv (p q : Dist m) (A : Fin m → Bool) : prob p A - prob q A ≤ tv p q := by
  rw [tv_eq_sum_pos, prob, prob, ← sum_sub]
  refine sum_le (fun i => ?_)
  have h1 := le_pos (p.w i - q.w i)
  have h2 := pos_nonneg (p.w i - q.w i)
  split <;> grind

/-- The best event attains the total variation.
Python: `tpf.puf.error_rates`. -/
theorem witness_attains_tv (p q : Dist m) :
    prob p (witness p q) - prob q (witness p q) = tv p q := by
  rw [tv_eq_sum_pos, prob, prob, ← sum_sub]
  refine sum_congr (fun i => ?_)
  unfold witness pos
  by_cases h : q.w i < p.w i
  · simp only [h, decide_true, if_true]; grind
  · simp only [h, decide_false]; grind

theorem tv_nonneg (p q : Dist m) : 0 ≤ tv p q := by
  rw [tv_eq_sum_pos]; exact sum_nonneg (fun i => pos_nonneg _)

/-- Devices are told apart by some event exactly where their distributions differ: the witness of
*Speaking to Silicon*, §5-8 and §20.
Python: `tpf.puf.error_rates`. -/
theorem tv_pos_iff (p q : Dist m) : 0 < tv p q ↔ p.w ≠ q.w := by
  constructor
  · intro h e
    rw [tv, e, sum_eq_zero (fun i => by rw [sub_self]; decide +kernel)] at h
    exact absurd h (by decide +kernel)
  · intro h
    refine Rat.lt_of_le_of_ne (tv_nonneg p q) (fun e => h (funext (fun i => ?_)))
    have h0 : sum m (fun i => rabs (p.w i - q.w i)) = 0 := by
      unfold tv at e; grind
    have := rabs_eq_zero.mp ((sum_eq_zero_iff (fun i => rabs_nonneg _)).mp h0 i)
    grind

/-- Two response distributions differ exactly where an event tells them apart.
Source: *Speaking to Silicon*, §5-8 (PUF witness).
Python: `tpf.puf.error_rates`. -/
theorem exists_event_iff (p q : Dist m) : (∃ A, prob q A < prob p A) ↔ p.w ≠ q.w := by
  rw [← tv_pos_iff]
  constructor
  · rintro ⟨A, h⟩
    have := event_le_tv p q A
    grind
  · intro h
    have := witness_attains_tv p q
    exact ⟨witness p q, by grind⟩

/-- Devices with the same distribution are told apart by no event.
Python: `tpf.puf.error_rates`. -/
theorem identical_no_event {p q : Dist m} (h : p.w = q.w) (A : Fin m → Bool) :
    prob p A = prob q A := by
  unfold prob; rw [h]

/-- A test that accepts the genuine device `p` on the event `A` and is shown the impostor `q`: its
false acceptances and false rejections add up to at least `1 - tv`, so the equal error rate is at least
half of that. Source: *Speaking to Silicon*, §20.
Python: `tpf.puf.error_rates`. -/
theorem error_rates_ge (p q : Dist m) (A : Fin m → Bool) :
    1 - tv p q ≤ prob q A + (1 - prob p A) := by
  have := event_le_tv p q A
  grind

/-! ## Several challenges -/

/-- The sum of `f` over all lists of `t` responses. -/
def sumSeq (m : Nat) : Nat → (List (Fin m) → Rat) → Rat
  | 0, f => f []
  | t + 1, f => sum m (fun i => sumSeq m t (fun l => f (i :: l)))

/-- Probability of the responses `l` to independent challenges; `p c` is the distribution of the
response to the challenge `c`, and the first one is `c`. -/
def weight (p : Nat → Dist m) : Nat → List (Fin m) → Rat
  | _, [] => 1
  | c, i :: l => (p c).w i * weight p (c + 1) l

/-- Total variation of the responses to `t` challenges from `c` on.
Python: `tpf.puf.error_rates`. -/
def tvSeq (p q : Nat → Dist m) (c t : Nat) : Rat :=
  sumSeq m t (fun l => rabs (weight p c l - weight q c l)) / 2

/-- Probability that the responses to `t` challenges from `c` on are an event. -/
def probSeq (p : Nat → Dist m) (c t : Nat) (A : List (Fin m) → Bool) : Rat :=
  sumSeq m t (fun l => if A l then weight p c l else 0)

theorem sumSeq_congr {f g : List (Fin m) → Rat} (t : Nat) (h : ∀ l, f l = g l) :
    sumSeq m t f = sumSeq m t g := congrArg (sumSeq m t) (funext h)

theorem sumSeq_le {f g : List (Fin m) → Rat} (t : Nat) (h : ∀ l, f l ≤ g l) :
    sumSeq m t f ≤ sumSeq m t g := by
  induction t generalizing f g with
  | zero => exact h []
  | succ t ih => exact sum_le (fun i => ih (fun l => h (i :: l)))

theorem sumSeq_add (t : Nat) (f g : List (Fin m) → Rat) :
    sumSeq m t (fun l => f l + g l) = sumSeq m t f + sumSeq m t g := by
  induction t generalizing f g with
  | zero => rfl
  | succ t ih => simp only [sumSeq, ih, sum_add]

theorem sumSeq_mul_left (c : Rat) (t : Nat) (f : List (Fin m) → Rat) :
    sumSeq m t (fun l => c * f l) = c * sumSeq m t f := by
  induction t generalizing f with
  | zero => rfl
  | succ t ih => simp only [sumSeq, ih, sum_mul_left]

theorem sumSeq_sub (t : Nat) (f g : List (Fin m) → Rat) :
    sumSeq m t (fun l => f l - g l) = sumSeq m t f - sumSeq m t g := by
  have h : ∀ l, f l - g l = f l + (-1) * g l := fun l => by grind
  rw [sumSeq_congr t h, sumSeq_add, sumSeq_mul_left]
  grind

theorem sum_sumSeq (t k : Nat) (f : Fin k → List (Fin m) → Rat) :
    sum k (fun i => sumSeq m t (f i)) = sumSeq m t (fun l => sum k (fun i => f i l)) := by
  induction t generalizing f with
  | zero => rfl
  | succ t ih => simp only [sumSeq]; rw [sum_comm]; exact sum_congr (fun j => ih _)

theorem rabs_sumSeq_le (t : Nat) (f : List (Fin m) → Rat) :
    rabs (sumSeq m t f) ≤ sumSeq m t (fun l => rabs (f l)) := by
  induction t generalizing f with
  | zero => exact Rat.le_refl
  | succ t ih =>
    exact Rat.le_trans (rabs_sum_le _) (sum_le (fun i => ih _))

theorem weight_nonneg (p : Nat → Dist m) (c : Nat) (l : List (Fin m)) : 0 ≤ weight p c l := by
  induction l generalizing c with
  | nil => exact (by decide +kernel : (0 : Rat) ≤ 1)
  | cons i l ih => exact Rat.mul_nonneg ((p c).nonneg i) (ih _)

/-- The probabilities of all responses add up to one. -/
theorem sumSeq_weight (p : Nat → Dist m) (c t : Nat) : sumSeq m t (weight p c) = 1 := by
  induction t generalizing c with
  | zero => rfl
  | succ t ih =>
    have h : ∀ i, sumSeq m t (fun l => weight p c (i :: l)) = (p c).w i := by
      intro i
      show sumSeq m t (fun l => (p c).w i * weight p (c + 1) l) = _
      rw [sumSeq_mul_left, ih, Rat.mul_one]
    show sum m (fun i => sumSeq m t (fun l => weight p c (i :: l))) = 1
    rw [sum_congr h]
    exact (p c).total

/-- One challenge of many is a challenge. -/
theorem tvSeq_one (p q : Nat → Dist m) (c : Nat) : tvSeq p q c 1 = tv (p c) (q c) := by
  simp only [tvSeq, sumSeq, weight, Rat.mul_one, tv]

theorem tvSeq_eq_sum_pos (p q : Nat → Dist m) (c t : Nat) :
    tvSeq p q c t = sumSeq m t (fun l => pos (weight p c l - weight q c l)) := by
  have h : sumSeq m t (fun l => rabs (weight p c l - weight q c l))
      = 2 * sumSeq m t (fun l => pos (weight p c l - weight q c l)) := by
    rw [sumSeq_congr t (fun l => rabs_eq _), sumSeq_sub, sumSeq_sub, sumSeq_mul_left]
    have e1 := sumSeq_weight p c t
    have e2 := sumSeq_weight q c t
    show _ - (sumSeq m t (weight p c) - sumSeq m t (weight q c)) = _
    grind
  rw [tvSeq, h, half]

/-- No test of the responses to `t` challenges tells the devices apart by more than the total
variation of these.
Python: `tpf.puf.error_rates`. -/
theorem eventSeq_le_tvSeq (p q : Nat → Dist m) (c t : Nat) (A : List (Fin m) → Bool) :
    probSeq p c t A - probSeq q c t A ≤ tvSeq p q c t := by
  rw [tvSeq_eq_sum_pos, probSeq, probSeq, ← sumSeq_sub]
  refine sumSeq_le t (fun l => ?_)
  have h1 := le_pos (weight p c l - weight q c l)
  have h2 := pos_nonneg (weight p c l - weight q c l)
  split <;> grind

/-- The test "likelier for `p`" attains it.
Python: `tpf.puf.error_rates`. -/
theorem witnessSeq_attains_tvSeq (p q : Nat → Dist m) (c t : Nat) :
    probSeq p c t (fun l => decide (weight q c l < weight p c l))
      - probSeq q c t (fun l => decide (weight q c l < weight p c l)) = tvSeq p q c t := by
  rw [tvSeq_eq_sum_pos, probSeq, probSeq, ← sumSeq_sub]
  refine sumSeq_congr t (fun l => ?_)
  unfold pos
  by_cases h : weight q c l < weight p c l
  · simp only [h, decide_true, if_true]; grind
  · simp only [h, decide_false]; grind

/-- A challenge more adds at most its own total variation.
Python: `tpf.puf.error_rates`. -/
theorem tvSeq_succ_le (p q : Nat → Dist m) (c t : Nat) :
    tvSeq p q c (t + 1) ≤ tv (p c) (q c) + tvSeq p q (c + 1) t := by
  have step : ∀ i, sumSeq m t (fun l => rabs (weight p c (i :: l) - weight q c (i :: l)))
      ≤ rabs ((p c).w i - (q c).w i)
        + (q c).w i * sumSeq m t (fun l => rabs (weight p (c + 1) l - weight q (c + 1) l)) := by
    intro i
    have h : ∀ l, rabs (weight p c (i :: l) - weight q c (i :: l))
        ≤ rabs ((p c).w i - (q c).w i) * weight p (c + 1) l
          + (q c).w i * rabs (weight p (c + 1) l - weight q (c + 1) l) := by
      intro l
      have e : weight p c (i :: l) - weight q c (i :: l)
          = ((p c).w i - (q c).w i) * weight p (c + 1) l
            + (weight p (c + 1) l - weight q (c + 1) l) * (q c).w i := by
        simp only [weight]; grind
      have a := rabs_add_le (((p c).w i - (q c).w i) * weight p (c + 1) l)
        ((weight p (c + 1) l - weight q (c + 1) l) * (q c).w i)
      rw [rabs_mul_nonneg _ (weight_nonneg p (c + 1) l), rabs_mul_nonneg _ ((q c).nonneg i)] at a
      rw [e]
      grind
    have a := sumSeq_le t h
    rw [sumSeq_add, sumSeq_mul_left, sumSeq_mul_left, sumSeq_weight p (c + 1) t, Rat.mul_one] at a
    exact a
  have a := sum_le step
  rw [sum_add, sum_mul_right, (q c).total, Rat.one_mul] at a
  have b : tvSeq p q c (t + 1) = sum m (fun i =>
      sumSeq m t (fun l => rabs (weight p c (i :: l) - weight q c (i :: l)))) / 2 := rfl
  rw [b]
  unfold tv tvSeq
  grind

/-- `t` challenges tell the devices apart by at most the sum of what each does.
Python: `tpf.puf.error_rates`. -/
theorem tvSeq_le_sum (p q : Nat → Dist m) (c t : Nat) :
    tvSeq p q c t ≤ sum t (fun i => tv (p (c + (t - 1 - i.val))) (q (c + (t - 1 - i.val)))) := by
  induction t generalizing c with
  | zero => simp only [tvSeq, sumSeq, weight, sum_zero, sub_self]; decide +kernel
  | succ t ih =>
    have a := tvSeq_succ_le p q c t
    have b := ih (c + 1)
    rw [sum_succ]
    have e1 : c + (t + 1 - 1 - (Fin.last t).val) = c := by rw [Fin.val_last]; omega
    have e2 : sum t (fun i => tv (p (c + 1 + (t - 1 - i.val))) (q (c + 1 + (t - 1 - i.val))))
        = sum t (fun i => tv (p (c + (t + 1 - 1 - i.castSucc.val)))
            (q (c + (t + 1 - 1 - i.castSucc.val)))) :=
      sum_congr (fun i => by
        have : c + 1 + (t - 1 - i.val) = c + (t + 1 - 1 - i.castSucc.val) := by
          have := i.isLt
          show _ = c + (t + 1 - 1 - i.val)
          omega
        rw [this])
    rw [e1, ← e2]
    grind

/-- `t` challenges of one kind tell the devices apart by at most `t` times what one does.
Python: `tpf.puf.error_rates`. -/
theorem tvSeq_le_mul (p q : Dist m) (t : Nat) :
    tvSeq (fun _ => p) (fun _ => q) 0 t ≤ t * tv p q := by
  have h := tvSeq_le_sum (fun _ => p) (fun _ => q) 0 t
  rwa [sum_const] at h

/-- A challenge more takes nothing away: the first one alone, and the others alone, tell the devices
apart by at most as much as all.
Python: `tpf.puf.error_rates`. -/
theorem le_tvSeq_succ (p q : Nat → Dist m) (c t : Nat) :
    tv (p c) (q c) ≤ tvSeq p q c (t + 1) ∧ tvSeq p q (c + 1) t ≤ tvSeq p q c (t + 1) := by
  have e : tvSeq p q c (t + 1) = sum m (fun i =>
      sumSeq m t (fun l => rabs (weight p c (i :: l) - weight q c (i :: l)))) / 2 := rfl
  constructor
  · have h : ∀ i, rabs ((p c).w i - (q c).w i)
        ≤ sumSeq m t (fun l => rabs (weight p c (i :: l) - weight q c (i :: l))) := by
      intro i
      have a := rabs_sumSeq_le t (fun l => weight p c (i :: l) - weight q c (i :: l))
      rw [sumSeq_sub] at a
      have b : ∀ r : Nat → Dist m, sumSeq m t (fun l => weight r c (i :: l)) = (r c).w i := by
        intro r
        show sumSeq m t (fun l => (r c).w i * weight r (c + 1) l) = _
        rw [sumSeq_mul_left, sumSeq_weight, Rat.mul_one]
      rwa [b p, b q] at a
    rw [e, tv]
    exact div_le_div_right (by decide +kernel) (sum_le h)
  · rw [e, sum_sumSeq, tvSeq]
    refine div_le_div_right (by decide +kernel) (sumSeq_le t (fun l => ?_))
    have a := rabs_sum_le (fun i => weight p c (i :: l) - weight q c (i :: l))
    rw [sum_sub] at a
    have b : ∀ r : Nat → Dist m, sum m (fun i => weight r c (i :: l)) = weight r (c + 1) l := by
      intro r
      show sum m (fun i => (r c).w i * weight r (c + 1) l) = _
      rw [sum_mul_right, (r c).total, Rat.one_mul]
    rwa [b p, b q] at a

/-- Each challenge tells the devices apart by at most as much as all together.
Python: `tpf.puf.error_rates`. -/
theorem tv_le_tvSeq (p q : Nat → Dist m) (c t i : Nat) (h : i < t) :
    tv (p (c + i)) (q (c + i)) ≤ tvSeq p q c t := by
  induction t generalizing c i with
  | zero => omega
  | succ t ih =>
    have a := le_tvSeq_succ p q c t
    cases i with
    | zero => exact a.1
    | succ i =>
      have b := ih (c + 1) i (by omega)
      rw [show c + (i + 1) = c + 1 + i by omega]
      exact Rat.le_trans b a.2

/-- Devices that respond alike to each challenge are told apart by no number of challenges.
Python: `tpf.puf.error_rates`. -/
theorem identical_tvSeq (p : Nat → Dist m) (c t : Nat) : tvSeq p p c t = 0 := by
  have h := tvSeq_le_sum p p c t
  have z : ∀ r : Dist m, tv r r = 0 := by
    intro r
    rw [tv, sum_eq_zero (fun i => by rw [sub_self]; decide +kernel)]
    decide +kernel
  rw [sum_eq_zero (fun i => z _)] at h
  refine Rat.le_antisymm h ?_
  rw [tvSeq_eq_sum_pos]
  have := sumSeq_le (m := m) t (f := fun l => 0 * weight p c l)
    (g := fun l => pos (weight p c l - weight p c l))
    (fun l => by have := pos_nonneg (weight p c l - weight p c l); grind)
  rw [sumSeq_mul_left] at this
  grind

/-! ## Counting an event over several challenges -/

/-- How many of the responses are the event. -/
def countOf (A : Fin m → Bool) : List (Fin m) → Nat
  | [] => 0
  | i :: l => (if A i then 1 else 0) + countOf A l

/-- The test "at least `k` of `t` responses are the event `A`" has the binomial tail of the event's
probability: the rates of acceptance of both devices, from one challenge's.
Python: `tpf.puf.error_rates`, `tpf.certificate.tail`. -/
theorem probSeq_count (p : Dist m) (A : Fin m → Bool) (c t k : Nat) :
    probSeq (fun _ => p) c t (fun l => decide (k ≤ countOf A l)) = tail (prob p A) t k := by
  induction t generalizing c k with
  | zero => cases k <;> simp [probSeq, sumSeq, countOf, weight, tail]
  | succ t ih =>
    cases k with
    | zero =>
      simp only [probSeq, Nat.zero_le, decide_true, if_true, tail_zero]
      exact sumSeq_weight _ _ _
    | succ k =>
      have h : ∀ i, sumSeq m t (fun l => if decide (k + 1 ≤ countOf A (i :: l)) = true
            then weight (fun _ => p) c (i :: l) else 0)
          = (if A i then p.w i else 0) * tail (prob p A) t k
            + (p.w i - (if A i then p.w i else 0)) * tail (prob p A) t (k + 1) := by
        intro i
        rw [← ih (c + 1) k, ← ih (c + 1) (k + 1)]
        unfold probSeq
        rw [← sumSeq_mul_left, ← sumSeq_mul_left, ← sumSeq_add]
        refine sumSeq_congr t (fun l => ?_)
        by_cases hA : A i = true
        · have e : (k + 1 ≤ countOf A (i :: l)) = (k ≤ countOf A l) := by
            simp only [countOf, hA, if_true]; apply propext; omega
          simp only [e, hA, if_true, weight, sub_self, Rat.zero_mul, Rat.add_zero]
          split
          · rfl
          · exact (Rat.mul_zero _).symm
        · have e : (k + 1 ≤ countOf A (i :: l)) = (k + 1 ≤ countOf A l) := by
            simp [countOf, hA]
          simp only [e, if_neg hA, weight, Rat.zero_mul]
          split <;> grind
      show sum m (fun i => sumSeq m t (fun l => if decide (k + 1 ≤ countOf A (i :: l)) = true
            then weight (fun _ => p) c (i :: l) else 0)) = _
      rw [sum_congr h, sum_add, sum_mul_right, sum_mul_right, sum_sub, p.total, tail_succ]
      rfl

end Dist

/-! ## Examples -/

/-- A response of two values of which the second has the probability `x`. -/
def bit (x : Rat) (h0 : 0 ≤ x) (h1 : x ≤ 1) : Dist 2 where
  w i := if i = 0 then 1 - x else x
  nonneg i := by split <;> grind
  total := by rw [sum_two]; simp only [if_true]; rw [if_neg (by decide)]; grind

/-- A device that answers 1 nine times in ten. -/
def device90 : Dist 2 := bit (9 / 10) (by decide +kernel) (by decide +kernel)

/-- A device that answers 1 every other time. -/
def device50 : Dist 2 := bit (1 / 2) (by decide +kernel) (by decide +kernel)

/-- One challenge tells these two devices apart by 2/5, two by more than one and by less than twice as
much, and counting at least 16 of 21 answers, from the theorem about counts, by 9/10.
Python: `tpf.puf.error_rates`. -/
theorem advantage_grows :
    Dist.tv device90 device50 = 2 / 5
      ∧ Dist.tvSeq (fun _ => device90) (fun _ => device50) 0 2 = 14 / 25
      ∧ 9 / 10 ≤ tail (9 / 10) 21 16 - tail (1 / 2) 21 16 := by
  refine ⟨by decide +kernel, by decide +kernel, by decide +kernel⟩

example : ∃ A, Dist.prob device50 A < Dist.prob device90 A :=
  (Dist.exists_event_iff device90 device50).mpr (fun h => by
    have := congrFun h 0
    exact absurd this (by decide +kernel))
example : 3 / 5
    ≤ Dist.prob device50 (fun i => i == 1) + (1 - Dist.prob device90 (fun i => i == 1)) := by
  have h := Dist.error_rates_ge device90 device50 (fun i => i == 1)
  rw [advantage_grows.1] at h
  grind
example : Dist.prob device50 (fun _ => true) = Dist.prob device50 (fun _ => true) :=
  Dist.identical_no_event rfl _
example : Dist.tvSeq (fun _ => device90) (fun _ => device50) 0 3
    ≤ (3 : Nat) * Dist.tv device90 device50 := Dist.tvSeq_le_mul _ _ 3
example : Dist.tv device90 device50 ≤ Dist.tvSeq (fun _ => device90) (fun _ => device50) 0 3 :=
  Dist.tv_le_tvSeq (fun _ => device90) (fun _ => device50) 0 3 2 (by decide)

end Silicon
