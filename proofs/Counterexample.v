(* Unguarded dominance fails from three columns on.

     H = [[1, 0, -1], [0, 1, 1], [-1, 1, 3]],   w = (-3/10, -2/5, 1/10),   grid: the integers.

   Rounding gives (0, 0, 0) and loses 13/50. The sweep gives (0, -1, 0) and loses 33/50. No value on the
   way lies midway between two integers, so it does not matter how ties go. Beyond the third column H is
   continued by the identity and w by zero, which makes a counterexample of every larger size. *)

From Coq Require Import Reals Lra Lia Arith ZArith List.
From Assay Require Import FiniteSums Quadratic Sweep LossIdentity Factors StepMinimiser TwoColumns.
Import ListNotations.
Open Scope R_scope.

Definition continued (corner : list (list R)) (i j : nat) : R :=
  if ((i <? 3) && (j <? 3))%nat%bool then nth j (nth i corner []) 0 else if (i =? j)%nat then 1 else 0.

Definition hessian : nat -> nat -> R := continued [[1; 0; -1]; [0; 1; 1]; [-1; 1; 3]].
Definition feedback : nat -> nat -> R := continued [[1; 1 / 2; - 1 / 3]; [0; 1; 1 / 3]; [0; 0; 1]].
Definition pivots (j : nat) : R := nth j [1 / 2; 2 / 3; 3] 1.
Definition weights (j : nat) : R := nth j [- 3 / 10; - 2 / 5; 1 / 10] 0.

Definition integer (x : R) : Prop := exists z : Z, x = IZR z.

Lemma sum_three : forall f, sum 3 f = f 0%nat + f 1%nat + f 2%nat.
Proof. intros. simpl. ring. Qed.

Lemma continued_later : forall corner i j,
  (3 <= i \/ 3 <= j)%nat -> continued corner i j = if (i =? j)%nat then 1 else 0.
Proof.
  intros corner i j later. unfold continued.
  destruct (Nat.ltb_spec i 3), (Nat.ltb_spec j 3); simpl; try reflexivity. lia.
Qed.

Lemma pivots_later : forall j, (3 <= j)%nat -> pivots j = 1.
Proof. intros [|[|[|[|j]]]] ?; try lia; reflexivity. Qed.

Lemma weights_later : forall j, (3 <= j)%nat -> weights j = 0.
Proof. intros [|[|[|[|j]]]] ?; try lia; reflexivity. Qed.

Lemma counterexample_factors : forall n, (3 <= n)%nat -> factors n hessian feedback pivots.
Proof.
  intros n large.
  assert (off : forall i k, (3 <= i \/ 3 <= k)%nat -> i <> k -> feedback i k = 0).
  { intros i k later ?. unfold feedback. rewrite continued_later by assumption.
    destruct (Nat.eqb_spec i k); [contradiction|reflexivity]. }
  assert (unit : forall j, feedback j j = 1).
  { intros [|[|[|j]]]; try reflexivity. unfold feedback.
    rewrite continued_later, Nat.eqb_refl by lia. reflexivity. }
  split; [intros; apply unit| |].
  - intros i j ?. destruct (Nat.lt_ge_cases i 3); [|apply off; lia].
    destruct i as [|[|[|i]]], j as [|[|[|j]]]; try lia; reflexivity.
  - intros i j ? ?.
    destruct (Nat.lt_ge_cases i 3), (Nat.lt_ge_cases j 3).
    + rewrite (sum_cut 3) by (try assumption; intros k ?; rewrite (off i k) by lia; ring).
      destruct i as [|[|[|i]]], j as [|[|[|j]]]; try lia;
        unfold hessian, feedback, pivots, continued; simpl; field.
    + rewrite (sum_only n _ j) by (try assumption; intros k ? ?; rewrite (off j k) by lia; ring).
      unfold hessian. rewrite pivots_later, unit, continued_later, (off i j) by lia.
      destruct (Nat.eqb_spec i j); [lia|ring].
    + rewrite (sum_only n _ i) by (try assumption; intros k ? ?; rewrite (off i k) by lia; ring).
      unfold hessian. rewrite pivots_later, unit, continued_later, (off j i) by lia.
      destruct (Nat.eqb_spec i j); [lia|ring].
    + rewrite (sum_only n _ i) by (try assumption; intros k ? ?; rewrite (off i k) by lia; ring).
      unfold hessian, feedback.
      rewrite pivots_later, !continued_later, Nat.eqb_refl, (Nat.eqb_sym j i) by lia. ring.
Qed.

Lemma counterexample_positive : forall n, (3 <= n)%nat -> positive_definite n hessian.
Proof.
  intros n large. apply (pivots_of_positive_definite n hessian feedback pivots).
  { apply counterexample_factors. assumption. }
  intros [|[|[|[|j]]]] _; unfold pivots; simpl; lra.
Qed.

(* Within less than half a step of an integer, every nearest rounding goes to that integer. *)
Lemma nearest_integer : forall Q x z, nearest integer Q -> Rabs (x - IZR z) < 1 / 2 -> Q x = IZR z.
Proof.
  intros Q x z near close. destruct (near x) as [[q on] nearer]. rewrite on in *.
  specialize (nearer (IZR z) (ex_intro _ z eq_refl)). f_equal.
  assert (A : Rabs (IZR q - IZR z) < 1).
  { replace (IZR q - IZR z) with ((x - IZR z) - (x - IZR q)) by ring.
    apply Rle_lt_trans with (1 := Rabs_triang (x - IZR z) (- (x - IZR q))). rewrite Rabs_Ropp. lra. }
  apply Rabs_def2 in A. rewrite <- minus_IZR in A. destruct A as [above below].
  apply (lt_IZR _ 1) in above. apply (lt_IZR (-1)) in below. lia.
Qed.

Ltac nearest_is near z := apply (nearest_integer _ _ z near); apply Rabs_def1; lra.

(* Such a rounding exists, so nothing here is said of nobody. *)
Lemma nearest_exists : exists Q, nearest integer Q.
Proof.
  exists (fun x => IZR (up (x - 1 / 2))). intros x. split; [eexists; reflexivity|]. intros g [z ->].
  destruct (archimed (x - 1 / 2)) as [above below].
  destruct (Z.eq_dec z (up (x - 1 / 2))) as [->|other]; [lra|].
  assert (Rabs (x - IZR (up (x - 1 / 2))) <= 1 / 2) by (apply Rabs_le; lra).
  apply Rle_trans with (1 / 2); [assumption|].
  destruct (Z.lt_ge_cases z (up (x - 1 / 2))) as [less|more].
  - assert (L : IZR z <= IZR (up (x - 1 / 2) - 1)) by (apply IZR_le; lia).
    rewrite minus_IZR in L. apply Rle_trans with (x - IZR z); [lra|apply Rle_abs].
  - assert (L : IZR (up (x - 1 / 2) + 1) <= IZR z) by (apply IZR_le; lia).
    rewrite plus_IZR in L. rewrite Rabs_minus_sym. apply Rle_trans with (IZR z - x); [lra|apply Rle_abs].
Qed.

Lemma rounded_weights : forall Q j, nearest integer Q -> rounded (fun _ => Q) weights j = 0.
Proof.
  intros Q j near. unfold rounded.
  destruct j as [|[|[|j]]]; [| | |rewrite weights_later by lia]; unfold weights; simpl; nearest_is near 0%Z.
Qed.

Lemma swept_weights : forall Q n, nearest integer Q -> (3 <= n)%nat ->
  let q := decoded (sweep feedback (fun _ => Q) weights n) in
  q 0%nat = 0 /\ q 1%nat = -1 /\ q 2%nat = 0 /\ forall j, (3 <= j < n)%nat -> q j = 0.
Proof.
  intros Q n near large q.
  assert (rule : forall j, (j < n)%nat -> q j = Q (work feedback weights q j))
    by apply sweep_is_the_recursion.
  assert (q0 : q 0%nat = 0).
  { rewrite rule by lia. unfold work, weights, feedback, continued. simpl. nearest_is near 0%Z. }
  assert (q1 : q 1%nat = -1).
  { rewrite rule by lia. unfold work. simpl. rewrite q0. unfold weights, feedback, continued. simpl.
    nearest_is near (-1)%Z. }
  assert (q2 : q 2%nat = 0).
  { rewrite rule by lia. unfold work. simpl. rewrite q0, q1. unfold weights, feedback, continued. simpl.
    nearest_is near 0%Z. }
  repeat split; try assumption. intros j ?. rewrite rule by lia. unfold work.
  rewrite weights_later by lia. rewrite sum_zero; [nearest_is near 0%Z|].
  intros i ?. unfold feedback. rewrite continued_later by lia. destruct (Nat.eqb_spec i j); [lia|ring].
Qed.

Lemma rounded_loss : forall Q n, nearest integer Q -> (3 <= n)%nat ->
  quadratic n hessian (fun j => weights j - rounded (fun _ => Q) weights j) = 13 / 50.
Proof.
  intros Q n near large.
  rewrite (quadratic_ext n hessian hessian _ (fun j => weights j - 0))
    by (intros; rewrite ?rounded_weights by assumption; reflexivity).
  rewrite (loss_identity n hessian feedback pivots) by (apply counterexample_factors; assumption).
  rewrite (sum_cut 3); [|assumption|].
  - unfold work, weights, feedback, pivots, continued. simpl. field.
  - intros j ?. unfold work. rewrite weights_later by lia. rewrite sum_zero; [ring|].
    intros i ?. unfold feedback. rewrite continued_later by lia. destruct (Nat.eqb_spec i j); [lia|ring].
Qed.

Lemma swept_step_losses : forall Q n, nearest integer Q -> (3 <= n)%nat ->
  let s := sweep feedback (fun _ => Q) weights n in
  let loss j := pivots j * (working s j - decoded s j) ^ 2 in
  loss 0%nat = 9 / 200 /\ loss 1%nat = 27 / 200 /\ loss 2%nat = 12 / 25 /\
  forall j, (3 <= j < n)%nat -> loss j = 0.
Proof.
  intros Q n near large s loss. destruct (swept_weights Q n near large) as [q0 [q1 [q2 later]]].
  fold s in q0, q1, q2, later.
  assert (each : forall j, loss j = pivots j * (work feedback weights (decoded s) j - decoded s j) ^ 2)
    by (intros j; unfold loss, s; rewrite working_is_work; reflexivity).
  rewrite !each. unfold work at 1 2 3. simpl. rewrite q0, q1, q2.
  split; [|split; [|split]]; try (unfold weights, feedback, pivots, continued; simpl; field).
  intros j ?. rewrite each. unfold work. rewrite later, weights_later by lia. rewrite sum_zero; [ring|].
  intros i ?. unfold feedback. rewrite continued_later by lia. destruct (Nat.eqb_spec i j); [lia|ring].
Qed.

Lemma swept_loss : forall Q n, nearest integer Q -> (3 <= n)%nat ->
  quadratic n hessian (fun j => weights j - decoded (sweep feedback (fun _ => Q) weights n) j) = 33 / 50.
Proof.
  intros Q n near large. destruct (swept_step_losses Q n near large) as [l0 [l1 [l2 later]]].
  rewrite (loss_identity_of_the_sweep n hessian feedback pivots)
    by (apply counterexample_factors; assumption).
  rewrite (sum_cut 3), sum_three by assumption. cbv zeta beta in *. rewrite l0, l1, l2. field.
Qed.

(* The three columns of the counterexample, entry by entry. *)
Theorem counterexample : forall Q, nearest integer Q ->
  let naive := rounded (fun _ => Q) weights in
  let swept := decoded (sweep feedback (fun _ => Q) weights 3) in
  positive_definite 3 hessian /\ factors 3 hessian feedback pivots /\
  (naive 0%nat = 0 /\ naive 1%nat = 0 /\ naive 2%nat = 0) /\
  (swept 0%nat = 0 /\ swept 1%nat = -1 /\ swept 2%nat = 0) /\
  quadratic 3 hessian (fun j => weights j - naive j) = 13 / 50 /\
  quadratic 3 hessian (fun j => weights j - swept j) = 33 / 50.
Proof.
  intros Q near naive swept. destruct (swept_weights Q 3 near (le_n 3)) as [q0 [q1 [q2 _]]].
  split; [apply counterexample_positive, le_n|].
  split; [apply counterexample_factors, le_n|].
  split; [repeat split; apply rounded_weights; assumption|].
  split; [repeat split; assumption|].
  split; [apply rounded_loss|apply swept_loss]; assumption || apply le_n.
Qed.

(* "On n columns the sweep never loses to rounding", on the integer grid. *)
Definition unguarded_dominance (n : nat) : Prop :=
  forall H V D w Q,
  symmetric n H -> positive_definite n H -> factors n H V D -> nearest integer Q ->
  quadratic n H (fun j => w j - decoded (sweep V (fun _ => Q) w n) j)
  <= quadratic n H (fun j => w j - rounded (fun _ => Q) w j).

Theorem unguarded_dominance_fails : ~ forall n, unguarded_dominance n.
Proof.
  intros claim. destruct nearest_exists as [Q near].
  assert (C := claim 3%nat hessian feedback pivots weights Q).
  rewrite swept_loss, rounded_loss in C by (try assumption; apply le_n).
  assert (33 / 50 <= 13 / 50); [apply C|lra].
  - apply (factors_symmetric 3 hessian feedback pivots), counterexample_factors, le_n.
  - apply counterexample_positive, le_n.
  - apply counterexample_factors, le_n.
  - assumption.
Qed.

(* The exact extent of the claim: two columns, and not one more. *)
Theorem unguarded_dominance_ends_at_two_columns : forall n, unguarded_dominance n <-> (n <= 2)%nat.
Proof.
  intros n. split.
  - intros claim. destruct (Nat.le_gt_cases n 2) as [|large]; [assumption|exfalso].
    destruct nearest_exists as [Q near]. assert (C := claim hessian feedback pivots weights Q).
    rewrite swept_loss, rounded_loss in C by (assumption || lia).
    assert (33 / 50 <= 13 / 50); [apply C|lra].
    + apply (factors_symmetric n hessian feedback pivots), counterexample_factors. lia.
    + apply counterexample_positive. lia.
    + apply counterexample_factors. lia.
    + assumption.
  - intros few G U C v Q _ positive F near.
    apply (up_to_two_columns n G U C v (fun _ => integer)); try assumption. intros; assumption.
Qed.
