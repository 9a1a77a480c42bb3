/-!
# Which interval is a response time

Ticks are integers of any unit. *Single-word handshake* of *Speaking to Silicon*, §9: a job is sent
only after the share of the one before has come. *Streaming*: jobs are sent whether or not shares have
come, so several are outstanding, and a share names its job.
-/

namespace Silicon

/-! ## Single-word handshake -/

/-- A job and its one share. -/
structure Exchange where
  /-- Tick at which the job was sent. -/
  send : Int
  /-- Tick at which its share came. -/
  response : Int

/-- The interval that a handshake measures. -/
def Exchange.interval (x : Exchange) : Int := x.response - x.send

/-- One outstanding job: no job is sent before the share of the one before has come. -/
def Handshake : List Exchange → Prop
  | [] => True
  | [x] => x.send ≤ x.response
  | x :: y :: l => x.send ≤ x.response ∧ x.response ≤ y.send ∧ Handshake (y :: l)

/-- Sum of the intervals. -/
def totalInterval : List Exchange → Int
  | [] => 0
  | x :: l => x.interval + totalInterval l

/-- Sum of the times in which no job was outstanding. -/
def totalIdle : List Exchange → Int
  | [] => 0
  | [_] => 0
  | x :: y :: l => (y.send - x.response) + totalIdle (y :: l)

/-- The tick of the last share, where the first exchange is `x`. -/
def lastResponse (x : Exchange) : List Exchange → Int
  | [] => x.response
  | y :: l => lastResponse y l

/-- The interval is the response time of the job: it is not negative, and it leads from the tick of
sending to the tick of the share. Source: *Speaking to Silicon*, §9. -/
theorem interval_is_response_time {x : Exchange} {l : List Exchange} (h : Handshake (x :: l)) :
    0 ≤ x.interval ∧ x.send + x.interval = x.response := by
  have : x.send ≤ x.response := by
    cases l with
    | nil => exact h
    | cons y l => exact h.1
  unfold Exchange.interval
  omega

theorem Handshake.tail {x : Exchange} {l : List Exchange} (h : Handshake (x :: l)) :
    Handshake l := by
  cases l with
  | nil => trivial
  | cons y l => exact h.2.2

/-- The intervals do not overlap: each share has come before any later job is sent.
Source: *Speaking to Silicon*, §9. -/
theorem intervals_disjoint {x : Exchange} {l : List Exchange} (h : Handshake (x :: l)) :
    ∀ y ∈ l, x.response ≤ y.send := by
  induction l generalizing x with
  | nil => intro y hy; cases hy
  | cons z l ih =>
    intro y hy
    rcases List.mem_cons.mp hy with e | hy
    · exact e ▸ h.2.1
    · have a := ih h.2.2 y hy
      have b := (interval_is_response_time h.2.2)
      have c := h.2.1
      omega

/-- Intervals and idle times make up the whole span. -/
theorem totalInterval_add_totalIdle (x : Exchange) (l : List Exchange) :
    totalInterval (x :: l) + totalIdle (x :: l) = lastResponse x l - x.send := by
  induction l generalizing x with
  | nil => simp only [totalInterval, totalIdle, lastResponse, Exchange.interval]; omega
  | cons y l ih =>
    have := ih y
    simp only [totalInterval, totalIdle, lastResponse, Exchange.interval] at this ⊢
    omega

theorem totalIdle_nonneg {l : List Exchange} (h : Handshake l) : 0 ≤ totalIdle l := by
  induction l with
  | nil => exact Int.le_refl 0
  | cons x l ih =>
    have a := ih h.tail
    cases l with
    | nil => exact Int.le_refl 0
    | cons y l => have b := h.2.1; simp only [totalIdle] at a ⊢; omega

/-- The intervals add up to at most the span of the recording. Source: *Speaking to Silicon*, §9. -/
theorem totalInterval_le_span {x : Exchange} {l : List Exchange} (h : Handshake (x :: l)) :
    totalInterval (x :: l) ≤ lastResponse x l - x.send := by
  have a := totalInterval_add_totalIdle x l
  have b := totalIdle_nonneg h
  omega

/-! ## Streaming -/

/-- A share names its job. -/
structure Share where
  /-- Number of the job that the share is of. -/
  job : Nat
  /-- Tick at which the share came. -/
  time : Int

/-- Jobs are numbered in the order in which they are sent; `send j` is the tick of job `j`. -/
def Sequential (send : Nat → Int) (n : Nat) : Prop := ∀ i j, i < j → j < n → send i < send j

/-- Number of the newest of the jobs `0 .. n - 1` that had been sent by tick `t`; 0 if none had. -/
def newestJob (send : Nat → Int) (t : Int) : Nat → Nat
  | 0 => 0
  | n + 1 => if send n ≤ t then n else newestJob send t n

/-- The response time: from the sending of the share's own job. -/
def ownInterval (send : Nat → Int) (x : Share) : Int := x.time - send x.job

/-- What is measured where the number of the job is ignored: from the sending of the newest job. -/
def newestInterval (send : Nat → Int) (n : Nat) (x : Share) : Int :=
  x.time - send (newestJob send x.time n)

/-- `newestJob` is what its name says: it had been sent, and no job after it had been. -/
theorem newestJob_spec {send : Nat → Int} {n i : Nat} {t : Int} (hi : i < n) (ht : send i ≤ t) :
    newestJob send t n < n ∧ send (newestJob send t n) ≤ t ∧ i ≤ newestJob send t n
      ∧ ∀ j, newestJob send t n < j → j < n → t < send j := by
  induction n with
  | zero => omega
  | succ n ih =>
    unfold newestJob
    by_cases h : send n ≤ t
    · rw [if_pos h]
      exact ⟨by omega, h, by omega, fun j a b => by omega⟩
    · rw [if_neg h]
      have hin : i < n := by
        rcases Nat.lt_or_ge i n with a | a
        · exact a
        · have : i = n := by omega
          exact absurd (this ▸ ht) h
      obtain ⟨a, b, c, d⟩ := ih hin
      refine ⟨by omega, b, c, fun j hj hn => ?_⟩
      rcases Nat.lt_or_ge j n with e | e
      · exact d j hj e
      · have : j = n := by omega
        subst this; omega

/-- Matching a share to the newest job instead of its own gives a strictly smaller interval wherever
a later job had been sent, and what is lost is the time between the two jobs: time of the sender, not
of the chip. Source: *Speaking to Silicon*, §9 (why a handshake is needed). -/
theorem newestInterval_lt {send : Nat → Int} {n : Nat} {x : Share} (hs : Sequential send n)
    {j : Nat} (hlater : x.job < j) (hjn : j < n) (hsent : send j ≤ x.time) :
    newestInterval send n x < ownInterval send x
      ∧ ownInterval send x - newestInterval send n x
        = send (newestJob send x.time n) - send x.job := by
  obtain ⟨a, _, c, _⟩ := newestJob_spec hjn hsent
  have b := hs x.job (newestJob send x.time n) (by omega) a
  unfold newestInterval ownInterval
  omega

/-- The interval from the newest job is the response time exactly where the share's job is the
newest. -/
theorem newestInterval_eq_iff {send : Nat → Int} {n : Nat} {x : Share} (hs : Sequential send n)
    (hj : x.job < n) (ht : send x.job ≤ x.time) :
    newestInterval send n x = ownInterval send x ↔ newestJob send x.time n = x.job := by
  obtain ⟨a, _, c, _⟩ := newestJob_spec hj ht
  constructor
  · intro h
    rcases Nat.lt_or_ge x.job (newestJob send x.time n) with b | b
    · have d := hs x.job _ b a
      unfold newestInterval ownInterval at h
      omega
    · omega
  · intro h
    unfold newestInterval ownInterval
    rw [h]

/-- With one outstanding job the two agree: a share that comes before the next job is sent is of the
newest job. Source: *Speaking to Silicon*, §9. -/
theorem newestInterval_of_one_outstanding {send : Nat → Int} {n : Nat} {x : Share}
    (hs : Sequential send n) (hj : x.job < n) (ht : send x.job ≤ x.time)
    (hone : ∀ j, x.job < j → j < n → x.time < send j) :
    newestInterval send n x = ownInterval send x := by
  rw [newestInterval_eq_iff hs hj ht]
  obtain ⟨a, b, c, _⟩ := newestJob_spec hj ht
  rcases Nat.lt_or_ge x.job (newestJob send x.time n) with d | d
  · have := hone _ d a
    omega
  · omega

/-- Sums over the shares of a recording. -/
def totalOf (f : Share → Int) : List Share → Int
  | [] => 0
  | x :: l => f x + totalOf f l

/-- Over a whole recording the intervals from the newest job add up to at most the response times, and
to strictly less as soon as one share is of an older job. -/
theorem totalOf_newestInterval {send : Nat → Int} {n : Nat} (hs : Sequential send n)
    (l : List Share) (hl : ∀ x ∈ l, x.job < n ∧ send x.job ≤ x.time) :
    totalOf (newestInterval send n) l ≤ totalOf (ownInterval send) l
      ∧ ((∃ x ∈ l, newestJob send x.time n ≠ x.job) →
        totalOf (newestInterval send n) l < totalOf (ownInterval send) l) := by
  induction l with
  | nil => exact ⟨Int.le_refl 0, fun ⟨x, hx, _⟩ => by cases hx⟩
  | cons y l ih =>
    obtain ⟨hj, ht⟩ := hl y (List.mem_cons.mpr (Or.inl rfl))
    have ⟨i1, i2⟩ := ih (fun x hx => hl x (List.mem_cons.mpr (Or.inr hx)))
    obtain ⟨a, b, c, _⟩ := newestJob_spec hj ht
    have key : newestInterval send n y ≤ ownInterval send y
        ∧ (newestJob send y.time n ≠ y.job → newestInterval send n y < ownInterval send y) := by
      by_cases e : newestJob send y.time n = y.job
      · have := (newestInterval_eq_iff hs hj ht).mpr e
        exact ⟨by omega, fun h => absurd e h⟩
      · have := (newestInterval_lt hs (j := newestJob send y.time n) (by omega) a b).1
        exact ⟨by omega, fun _ => this⟩
    refine ⟨by simp only [totalOf]; omega, fun ⟨x, hx, hne⟩ => ?_⟩
    simp only [totalOf]
    rcases List.mem_cons.mp hx with e | hx
    · have := key.2 (e ▸ hne); omega
    · have := i2 ⟨x, hx, hne⟩
      have := key.1
      omega

/-! ## Examples -/

/-- Three exchanges: intervals 5, 2, 4 in a span of 14, three ticks idle. -/
def threeExchanges : List Exchange := [⟨10, 15⟩, ⟨16, 18⟩, ⟨20, 24⟩]

example : Handshake threeExchanges := by simp [threeExchanges, Handshake]
example : totalInterval threeExchanges = 11 ∧ totalIdle threeExchanges = 3 := by decide
example : totalInterval threeExchanges ≤ 24 - 10 :=
  totalInterval_le_span (x := ⟨10, 15⟩) (l := [⟨16, 18⟩, ⟨20, 24⟩]) (by simp [Handshake])

example : ∀ y ∈ [(⟨16, 18⟩ : Exchange), ⟨20, 24⟩], 15 ≤ y.send :=
  intervals_disjoint (x := ⟨10, 15⟩) (l := [⟨16, 18⟩, ⟨20, 24⟩]) (by simp [Handshake])
example : (10 : Int) + (Exchange.mk 10 15).interval = 15 :=
  (interval_is_response_time (x := ⟨10, 15⟩) (l := [⟨16, 18⟩]) (by simp [Handshake])).2

/-- Jobs are sent every ten ticks; the share of job 0 comes at tick 25, when jobs 1 and 2 are out: 5
ticks are measured instead of 25. -/
def everyTen (j : Nat) : Int := 10 * j

theorem everyTen_sequential (n : Nat) : Sequential everyTen n := by
  intro i j h _; unfold everyTen; omega

example : newestJob everyTen 25 4 = 2 ∧ newestInterval everyTen 4 ⟨0, 25⟩ = 5
    ∧ ownInterval everyTen ⟨0, 25⟩ = 25 := by decide
example : newestInterval everyTen 4 ⟨0, 25⟩ < ownInterval everyTen ⟨0, 25⟩ :=
  (newestInterval_lt (everyTen_sequential 4) (j := 1) (by decide) (by decide) (by decide)).1
/-- Two shares of job 0 and one of job 2: 5 + 8 + 6 ticks are measured, 25 + 28 + 6 are true. -/
example : totalOf (newestInterval everyTen 4) [⟨0, 25⟩, ⟨0, 28⟩, ⟨2, 26⟩] = 19
    ∧ totalOf (ownInterval everyTen) [⟨0, 25⟩, ⟨0, 28⟩, ⟨2, 26⟩] = 59 := by decide
example : totalOf (newestInterval everyTen 4) [⟨0, 25⟩, ⟨2, 26⟩]
    < totalOf (ownInterval everyTen) [⟨0, 25⟩, ⟨2, 26⟩] :=
  (totalOf_newestInterval (everyTen_sequential 4) _ (by decide)).2 ⟨⟨0, 25⟩, by simp, by decide⟩
example : newestInterval everyTen 4 ⟨2, 25⟩ = ownInterval everyTen ⟨2, 25⟩ :=
  newestInterval_of_one_outstanding (everyTen_sequential 4) (by decide) (by decide)
    (fun j h _ => by
      have h : 2 < j := h
      show (25 : Int) < 10 * j
      omega)

end Silicon
