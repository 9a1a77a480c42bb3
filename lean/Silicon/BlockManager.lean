import Silicon.Energy

/-!
# The virtual block manager: waiting turned into hashing

`h` is the time that a device hashes per job, `t` the time of the network and `u` that of the Stratum
server until the next job is there. Where work is queued, the device hashes while it waits, and there
is nothing left to win.
-/

noncomputable section

namespace Silicon

/-- Part of a cycle that is spent hashing. Python: `firmware_bridge.efficiency.eta`. -/
def eta (h t : Rat) (u : Rat := 0) : Rat := h / (h + t + u)

/-- Idle time of a device that waits for `wait` and has `queued` of work at hand.
Python: `firmware_bridge.efficiency.idle_s`. -/
def idle (wait : Rat) (queued : Rat := 0) : Rat := max 0 (wait - queued)

/-- Part of its time that the device is idle: what a block manager can save at most.
Python: `firmware_bridge.efficiency.idle_fraction`. -/
def idleFraction (h wait : Rat) (queued : Rat := 0) : Rat := 1 - eta h (idle wait queued)

/-- How many more shares come when the wait falls from `before` to `after`, relative to before.
Python: `firmware_bridge.efficiency.throughput_gain`. -/
def throughputGain (h before : Rat) (after : Rat := 0) (queued : Rat := 0) : Rat :=
  (h + idle before queued) / (h + idle after queued) - 1

/-- Two savings, one after the other. Python: `tpf.energy.combined_saving`. -/
def combinedSaving (a b : Rat) : Rat := 1 - (1 - a) * (1 - b)

/-- Energy per share with a filter and a block manager relative to neither: a device that waits draws
its static power alone. Python: `tpf.energy.combined_energy_per_share`. -/
def combinedEnergyPerShare (q k n c r s before after : Rat) : Rat :=
  ((1 - s) * work q k n c + s / after) / r / ((1 - s) + s / before)

variable {h h' t t' u u' q k n c r s wait wait' queued queued' before after : Rat}

/-! ## Efficiency -/

/-- The efficiency is above zero and at most one. Source: *Speaking to Silicon*, §15.
Python: `firmware_bridge.efficiency.eta`. -/
theorem eta_bounds (hh : 0 < h) (ht : 0 ≤ t) (hu : 0 ≤ u) : 0 < eta h t u ∧ eta h t u ≤ 1 := by
  unfold eta
  rw [Rat.lt_div_iff (by grind), div_le_iff (by grind)]
  constructor <;> grind

/-- It is one exactly where nothing is waited for. Source: *Speaking to Silicon*, §15.
Python: `firmware_bridge.efficiency.eta`. -/
theorem eta_eq_one_iff (hh : 0 < h) (ht : 0 ≤ t) (hu : 0 ≤ u) :
    eta h t u = 1 ↔ t = 0 ∧ u = 0 := by
  unfold eta
  have hd : h + t + u ≠ 0 := by grind
  constructor
  · intro e
    have := Rat.div_mul_cancel (a := h) hd
    rw [e] at this
    constructor <;> grind
  · rintro ⟨h1, h2⟩
    rw [h1, h2, Rat.add_zero, Rat.add_zero, Rat.div_def, Rat.mul_inv_cancel h (by grind)]

/-- It rises with the time of hashing. Source: *Speaking to Silicon*, §15.
Python: `firmware_bridge.efficiency.eta`. -/
theorem eta_mono_hash (hh : 0 < h) (ht : 0 ≤ t) (hu : 0 ≤ u) (hle : h ≤ h') :
    eta h t u ≤ eta h' t u := by
  have hd : 0 < h + t + u := by grind
  have hd' : 0 < h' + t + u := by grind
  unfold eta
  rw [le_div_iff hd', Rat.div_def, Rat.mul_assoc, Rat.mul_comm _ (h' + t + u), ← Rat.mul_assoc,
    ← Rat.div_def, div_le_iff hd]
  have := Rat.mul_le_mul_of_nonneg_right hle (show 0 ≤ t + u by grind)
  grind

/-- It falls with the time of the network. Source: *Speaking to Silicon*, §15.
Python: `firmware_bridge.efficiency.eta`. -/
theorem eta_anti_network (hh : 0 < h) (ht : 0 ≤ t) (hu : 0 ≤ u) (hle : t ≤ t') :
    eta h t' u ≤ eta h t u :=
  frac_anti (by grind) (Rat.le_of_lt hh) (by grind)

/-- It falls with the time of the Stratum server. Source: *Speaking to Silicon*, §15.
Python: `firmware_bridge.efficiency.eta`. -/
theorem eta_anti_stratum (hh : 0 < h) (ht : 0 ≤ t) (hu : 0 ≤ u) (hle : u ≤ u') :
    eta h t u' ≤ eta h t u :=
  frac_anti (by grind) (Rat.le_of_lt hh) (by grind)

/-! ## Queued work -/

-- Idle time is not negative.
theorem idle_nonneg (wait queued : Rat) : 0 ≤ idle wait queued := by unfold idle; grind

-- There is none exactly where the queue covers the wait.
theorem idle_eq_zero_iff : idle wait queued = 0 ↔ wait ≤ queued := by unfold idle; grind

/-- Without a queue a device is idle for as long as it waits. -/
theorem idleFraction_no_queue (hw : 0 ≤ wait) : idleFraction h wait = 1 - eta h wait := by
  unfold idleFraction idle
  rw [show max 0 (wait - 0) = wait by grind]

/-- The idle part of the time is not negative and below one.
Python: `firmware_bridge.efficiency.idle_fraction`. -/
theorem idleFraction_bounds (hh : 0 < h) :
    0 ≤ idleFraction h wait queued ∧ idleFraction h wait queued < 1 := by
  have := eta_bounds hh (idle_nonneg wait queued) (show (0 : Rat) ≤ 0 by decide +kernel)
  unfold idleFraction
  constructor <;> grind

/-- A block manager has something to win exactly where the queue does not cover the wait.
Source: *Speaking to Silicon*, §15. Python: `firmware_bridge.efficiency.idle_fraction`. -/
theorem idleFraction_eq_zero_iff_queue_covers_wait (hh : 0 < h) :
    idleFraction h wait queued = 0 ↔ wait ≤ queued := by
  rw [← idle_eq_zero_iff]
  have h1 := eta_eq_one_iff hh (idle_nonneg wait queued) (show (0 : Rat) ≤ 0 by decide +kernel)
  unfold idleFraction
  constructor
  · intro e; exact (h1.mp (by grind)).1
  · intro e
    rw [h1.mpr ⟨e, rfl⟩]; decide +kernel

/-- More queued work, less to win. Python: `firmware_bridge.efficiency.idle_fraction`. -/
theorem idleFraction_anti_queue (hh : 0 < h) (hle : queued ≤ queued') :
    idleFraction h wait queued' ≤ idleFraction h wait queued := by
  have h1 := eta_anti_network hh (idle_nonneg wait queued') (show (0 : Rat) ≤ 0 by decide +kernel)
    (show idle wait queued' ≤ idle wait queued by unfold idle; grind)
  unfold idleFraction
  grind

/-- Where work is queued that covers the wait before, a shorter wait brings no share more.
Source: *Speaking to Silicon*, §15 (the published +25 %).
Python: `firmware_bridge.efficiency.throughput_gain`. -/
theorem throughputGain_zero_when_queued (hh : 0 < h) (hq : before ≤ queued) (hle : after ≤ before) :
    throughputGain h before after queued = 0 := by
  unfold throughputGain
  rw [idle_eq_zero_iff.mpr hq, idle_eq_zero_iff.mpr (show after ≤ queued by grind), Rat.add_zero,
    Rat.div_def, Rat.mul_inv_cancel h (by grind)]
  decide +kernel

/-- A shorter wait never brings fewer shares. Python: `firmware_bridge.efficiency.throughput_gain`. -/
theorem throughputGain_nonneg (hh : 0 < h) (hle : after ≤ before) :
    0 ≤ throughputGain h before after queued := by
  have h0 := idle_nonneg after queued
  have h1 : idle after queued ≤ idle before queued := by unfold idle; grind
  have h2 : 1 ≤ (h + idle before queued) / (h + idle after queued) := by
    rw [le_div_iff (by grind)]; grind
  unfold throughputGain
  grind

/-- Without a queue, a wait that vanishes brings wait over hash time: for the published +25 % the
wait has to be a quarter of the time of hashing. Source: *Speaking to Silicon*, §15.
Python: `firmware_bridge.efficiency.throughput_gain`. -/
theorem throughputGain_no_queue (hh : 0 < h) (hw : 0 ≤ wait) : throughputGain h wait = wait / h := by
  unfold throughputGain idle
  rw [show max 0 (wait - 0) = wait by grind, show max (0 : Rat) (0 - 0) = 0 by decide +kernel,
    Rat.add_zero, Rat.div_def, Rat.div_def, Rat.add_mul, Rat.mul_inv_cancel h (by grind)]
  grind

/-! ## Two savings together -/

/-- The combination written out. Python: `tpf.energy.combined_saving`. -/
theorem combinedSaving_eq (a b : Rat) : combinedSaving a b = a + b - a * b := by
  unfold combinedSaving; grind

/-- The order of two savings does not matter. Python: `tpf.energy.combined_saving`. -/
theorem combinedSaving_comm (a b : Rat) : combinedSaving a b = combinedSaving b a := by
  unfold combinedSaving; grind

/-- Nor does the grouping of three. Python: `tpf.energy.combined_saving`. -/
theorem combinedSaving_assoc (a b d : Rat) :
    combinedSaving (combinedSaving a b) d = combinedSaving a (combinedSaving b d) := by
  unfold combinedSaving; grind

/-- Nothing saved adds nothing: with a filter that saves nothing, the published combination is the
block manager alone. Source: *Speaking to Silicon*, §15. Python: `tpf.energy.combined_saving`. -/
theorem combinedSaving_zero (a : Rat) : combinedSaving a 0 = a ∧ combinedSaving 0 a = a := by
  unfold combinedSaving; constructor <;> grind

/-- Two savings together are at least each of them and at most their sum and one.
Source: *Speaking to Silicon*, §15. Python: `tpf.energy.combined_saving`. -/
theorem combinedSaving_bounds {a b : Rat} (ha : 0 ≤ a) (ha1 : a ≤ 1) (hb : 0 ≤ b) (hb1 : b ≤ 1) :
    a ≤ combinedSaving a b ∧ b ≤ combinedSaving a b ∧ combinedSaving a b ≤ a + b
      ∧ combinedSaving a b ≤ 1 := by
  have m1 := Rat.mul_nonneg ha hb
  have m2 := Rat.mul_nonneg ha (show 0 ≤ 1 - b by grind)
  have m3 := Rat.mul_nonneg hb (show 0 ≤ 1 - a by grind)
  have m4 := Rat.mul_nonneg (show 0 ≤ 1 - a by grind) (show 0 ≤ 1 - b by grind)
  unfold combinedSaving
  refine ⟨?_, ?_, ?_, ?_⟩ <;> grind

/-- They are one only where one of them is one. Python: `tpf.energy.combined_saving`. -/
theorem combinedSaving_eq_one_iff (a b : Rat) : combinedSaving a b = 1 ↔ a = 1 ∨ b = 1 := by
  have h1 : combinedSaving a b = 1 ↔ (1 - a) * (1 - b) = 0 := by
    unfold combinedSaving; constructor <;> grind
  rw [h1, Rat.mul_eq_zero]
  constructor <;> grind

/-- They rise with each of them. Python: `tpf.energy.combined_saving`. -/
theorem combinedSaving_mono {a a' b : Rat} (hb : b ≤ 1) (hle : a ≤ a') :
    combinedSaving a b ≤ combinedSaving a' b := by
  have := Rat.mul_le_mul_of_nonneg_right hle (show 0 ≤ 1 - b by grind)
  unfold combinedSaving
  grind

/-- A filter that wastes energy lowers what the block manager saves alone.
Python: `tpf.energy.combined_saving`. -/
theorem combinedSaving_lt_of_waste {a b : Rat} (ha : a < 0) (hb : b < 1) :
    combinedSaving a b < b := by
  have := Rat.mul_lt_mul_of_pos_left (show 0 < -a by grind) (show 0 < 1 - b by grind)
  unfold combinedSaving
  grind

/-! ## Energy with both -/

/-- Without static power a block manager saves no energy per share, however many more shares it
brings. Source: *Speaking to Silicon*, §15. Python: `tpf.energy.combined_energy_per_share`. -/
theorem blockManager_saves_no_energy_without_static_power :
    combinedEnergyPerShare q k n c r 0 before after = energyPerShare q k n c r := by
  have h1 (x : Rat) : (0 : Rat) / x = 0 := by rw [Rat.div_def, Rat.zero_mul]
  unfold combinedEnergyPerShare energyPerShare breakEvenRecall
  rw [h1, h1, show (1 : Rat) - 0 + 0 = 1 by decide +kernel]
  generalize ((1 - 0) * work q k n c + 0) / r = x
  rw [Rat.div_def, show (1 : Rat)⁻¹ = 1 by decide +kernel, Rat.mul_one]

/-- With a block manager that removes all waiting for a device that had none, the energy is that of
the filter alone. Python: `tpf.energy.combined_energy_per_share`. -/
theorem combinedEnergy_without_waiting :
    combinedEnergyPerShare q k n c r s 1 1 = energyPerShare q k n c r s := by
  have h1 (x : Rat) : x / 1 = x := by
    rw [Rat.div_def, show (1 : Rat)⁻¹ = 1 by decide +kernel, Rat.mul_one]
  unfold combinedEnergyPerShare energyPerShare breakEvenRecall
  rw [h1, show (1 : Rat) - s + s = 1 by grind, h1]

/-- Without information the filter adds nothing to what the block manager saves: no combination is
below the block manager alone. Source: *Speaking to Silicon*, §15.
Python: `tpf.energy.combined_energy_per_share`. -/
theorem no_information_adds_nothing (hA : Admissible q k n c s) (hr : 0 < r) (hi : r ≤ q)
    (hb : 0 < before) (ha : 0 < after) :
    combinedEnergyPerShare 1 k n 0 1 s before after
      ≤ combinedEnergyPerShare q k n c r s before after := by
  have hs0 := hA.s_nonneg
  have hs1 := hA.s_le
  have hq1 := hA.q_le
  have hk := keep_le_work hA
  have hd : 0 ≤ (1 - s) + s / before := by
    have := div_nonneg hs0 (Rat.le_of_lt hb)
    grind
  have hsa := div_nonneg hs0 (Rat.le_of_lt ha)
  unfold combinedEnergyPerShare
  apply div_le_div_right hd
  have hw : work 1 k n 0 = 1 := by unfold work; grind
  rw [hw, show (((1 - s) * 1 + s / after) / 1 : Rat) = (1 - s) + s / after by grind, le_div_iff hr]
  have m1 := Rat.mul_le_mul_of_nonneg_left (show r ≤ work q k n c by grind)
    (show 0 ≤ 1 - s by grind)
  have m2 := Rat.mul_le_mul_of_nonneg_left (show r ≤ 1 by grind) hsa
  grind

/-! ## Examples -/

example : 0 < eta 4 1 1 ∧ eta 4 1 1 ≤ 1 :=
  eta_bounds (by decide +kernel) (by decide +kernel) (by decide +kernel)
example : eta 4 1 1 ≤ eta 5 1 1 := eta_mono_hash (by decide +kernel) (by decide +kernel)
  (by decide +kernel) (by decide +kernel)
example : eta 4 2 1 ≤ eta 4 1 1 := eta_anti_network (by decide +kernel) (by decide +kernel)
  (by decide +kernel) (by decide +kernel)
example : eta 4 1 2 ≤ eta 4 1 1 := eta_anti_stratum (by decide +kernel) (by decide +kernel)
  (by decide +kernel) (by decide +kernel)
example : idleFraction 4 1 2 = 0 :=
  (idleFraction_eq_zero_iff_queue_covers_wait (by decide +kernel)).mpr (by decide +kernel)
example : idleFraction 4 1 (3 / 4) ≤ idleFraction 4 1 (1 / 2) :=
  idleFraction_anti_queue (by decide +kernel) (by decide +kernel)
example : throughputGain 4 1 = 1 / 4 := throughputGain_no_queue (by decide +kernel) (by decide +kernel)
example : 0 ≤ throughputGain 4 1 (1 / 2) (1 / 4) :=
  throughputGain_nonneg (by decide +kernel) (by decide +kernel)
example : combinedSaving (-1 / 10) (1 / 5) < 1 / 5 :=
  combinedSaving_lt_of_waste (by decide +kernel) (by decide +kernel)
example : eta 4 1 = 4 / 5 ∧ eta 4 1 1 = 2 / 3 ∧ idleFraction 4 1 = 1 / 5 := by decide +kernel
example : throughputGain 4 1 = 1 / 4 ∧ throughputGain 4 1 0 1 = 0 := by decide +kernel
example : throughputGain 4 1 0 2 = 0 :=
  throughputGain_zero_when_queued (by decide +kernel) (by decide +kernel) (by decide +kernel)
example : idleFraction 4 1 (1 / 2) = 1 / 9 := by decide +kernel
example : combinedSaving (59 / 64) (1 / 5) = 15 / 16 := by decide +kernel
example : 1 / 5 ≤ combinedSaving (1 / 2) (1 / 5) :=
  (combinedSaving_bounds (by decide +kernel) (by decide +kernel) (by decide +kernel)
    (by decide +kernel)).2.1
example : combinedEnergyPerShare (1 / 4) 122 128 0 (9 / 10) (1 / 10) (4 / 5) 1 = 12395 / 11808 := by
  decide +kernel
example : combinedEnergyPerShare 1 122 128 0 1 (1 / 10) (4 / 5) 1
    ≤ combinedEnergyPerShare (1 / 4) 122 128 (1 / 1000) (1 / 5) (1 / 10) (4 / 5) 1 :=
  no_information_adds_nothing example_admissible (by decide +kernel) (by decide +kernel)
    (by decide +kernel) (by decide +kernel)

end Silicon
